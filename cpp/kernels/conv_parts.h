// SPDX-License-Identifier: BSD-3-Clause
// Sums over blocks of images, in parts that run side by side.
#pragma once

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kMostTasks = 8;
constexpr std::int64_t kPartFloats = 4 * 1024 * 1024;  // of working memory for all parts

/// A task: blocks [begin, end) of the sum, for one section of the result.
struct Part {
  std::int64_t begin, end, section;
  float* sum;  // the whole result of these blocks; the task overwrites its section
};

/// How many parts a sum over `blocks` blocks of `size` floats is cut into: by shape alone. Sections run side by side
/// already.
NV_INLINE std::int64_t parts_of(std::int64_t blocks, std::int64_t size, std::int64_t sections) {
  const std::int64_t wanted = ceil_div(kMostTasks, sections), fitting = larger(kPartFloats / larger(size, 1), 2);
  return larger(smaller(blocks, smaller(wanted, fitting)), 1);
}

/// out = the sum of all blocks, `size` floats; body(part) for every task. No block at all: zero.
template <class Body>
NV_INLINE void sum_parts(std::int64_t blocks, std::int64_t size, std::int64_t sections, float* out, const Body& body) {
  if (blocks == 0) {
    std::memset(out, 0, static_cast<std::size_t>(size) * sizeof(float));
    return;
  }
  const std::int64_t parts = parts_of(blocks, size, sections);
  const std::int64_t stride = ceil_div(size, 16) * 16;
  const core::Scratch<float> scratch(static_cast<std::size_t>((parts - 1) * stride + 1));
  core::parallel_chunks(parts * sections, [&](std::int64_t task) {
    const std::int64_t part = task / sections;
    body(Part{part * blocks / parts, (part + 1) * blocks / parts, task % sections,
              part == 0 ? out : scratch.get() + (part - 1) * stride});
  });
  if (parts == 1) return;
  core::parallel_for(size, 16 * 1024, [&](std::int64_t first, std::int64_t last) {
    for_vectors(first, last, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
      vf sum = load_some(out + i, count);
      for (std::int64_t part = 1; part < parts; ++part)
        sum += load_some(scratch.get() + (part - 1) * stride + i, count);
      store_some(out + i, sum, count);
    });
  });
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
