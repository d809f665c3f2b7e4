// SPDX-License-Identifier: BSD-3-Clause
// Which inputs belong to a window, and which windows hold an input. For the pooling kernels.
#pragma once

#include "core/parallel.h"
#include "kernels/lanes.h"
#include "kernels/pool.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kPoolChunk = 16 * 1024;  // elements to a task

/// Taps first .. last - 1 lie inside the input; tap k is at start + k * dilation.
struct Taps {
  std::int64_t start, first, last, dilation;
  std::int64_t count() const { return last - first; }
};

/// Both taps of a window of two.
constexpr Taps kPair{0, 0, 2, 1};

NV_INLINE Taps taps_of(const PoolAxis& axis, std::int64_t o) {
  if (axis.adaptive) {
    const std::int64_t start = o * axis.in / axis.out;
    return {start, 0, ceil_div((o + 1) * axis.in, axis.out) - start, 1};
  }
  const std::int64_t start = o * axis.stride - axis.padding;
  std::int64_t first = 0, last = axis.kernel;
  if (start < 0) first = smaller(ceil_div(-start, axis.dilation), axis.kernel);
  if (start + (axis.kernel - 1) * axis.dilation >= axis.in)
    last = larger(first, smaller(axis.kernel, start < axis.in ? ceil_div(axis.in - start, axis.dilation) : 0));
  return {start, first, last, axis.dilation};
}

/// Windows first .. last - 1 are the only ones that may hold input i.
struct Holders {
  std::int64_t first, last;
};

NV_INLINE Holders holders_of(const PoolAxis& axis, std::int64_t i) {
  if (axis.adaptive) return {i * axis.out / axis.in, ceil_div((i + 1) * axis.out, axis.in)};
  const std::int64_t reach = (axis.kernel - 1) * axis.dilation;  // from the first tap to the last
  const std::int64_t at = i + axis.padding;
  return {at > reach ? ceil_div(at - reach, axis.stride) : 0, smaller(axis.out, at / axis.stride + 1)};
}

/// Which tap of window o input i is; -1 for none.
NV_INLINE std::int64_t tap_at(const PoolAxis& axis, std::int64_t o, std::int64_t i) {
  if (axis.adaptive) return i - o * axis.in / axis.out;
  const std::int64_t distance = i + axis.padding - o * axis.stride;
  if (axis.dilation == 1) return distance;
  return distance % axis.dilation == 0 ? distance / axis.dilation : -1;
}

/// Whether windows lie side by side, so that no input belongs to two and only a margin at the end belongs to none.
NV_INLINE bool tiles(const PoolAxis& axis) {
  return !axis.adaptive && axis.stride == axis.kernel && axis.dilation == 1;
}

/// The first input behind all windows that lie side by side.
NV_INLINE std::int64_t tiled_end(const PoolAxis& axis) {
  return smaller(axis.in, axis.out * axis.stride - axis.padding);
}

NV_INLINE void zero_fill(float* p, std::int64_t n) {
  if (n > 0) std::memset(p, 0, static_cast<std::size_t>(n) * sizeof(float));
}

/// body(image, row) for `rows` rows of `row_size` elements in every image.
template <class Body>
NV_INLINE void for_image_rows(std::int64_t images, std::int64_t rows, std::int64_t row_size, const Body& body) {
  core::parallel_for(images * rows, larger(1, kPoolChunk / larger(row_size, 1)),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t task = begin; task < end; ++task) body(task / rows, task % rows);
                     });
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
