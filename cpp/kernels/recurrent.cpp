// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent.h"

#include "core/parallel.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kFloats = 16 * 1024;  // to a chunk

// Rows are short, too short for calls of memcpy.
NV_INLINE void copy_floats(const float* from, std::int64_t n, float* to) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(to + i, load_some(from + i, count), count);
  });
}
NV_INLINE void clear_floats(std::int64_t n, float* to) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA { store_some(to + i, vf{}, count); });
}

/// The steps of row j.
std::int64_t length_of(const Sequence& s, std::int64_t j) {
  std::int64_t low = 0, high = s.steps;  // active[t] > j holds up to the length
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (s.active[middle] > j)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// body(t) for `steps` steps, in pieces of about kFloats.
template <class Body>
void over_steps(const Sequence& s, std::int64_t width, std::int64_t steps, const Body& body) {
  const std::int64_t per_step = s.batch * width;
  const std::int64_t grain = per_step >= kFloats ? 1 : kFloats / (per_step > 0 ? per_step : 1);
  core::parallel_for(steps, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) body(t);
  });
}

}  // namespace

void gather_steps(const Sequence& s, const StepsIn& x, std::int64_t width, float* packed) {
  over_steps(s, width, s.steps, [&](std::int64_t t) {
    for (std::int64_t j = 0; j < s.active[t]; ++j)
      copy_floats(x.data + s.row[j] * x.row_step + t * x.time_step, width, packed + (s.offset[t] + j) * width);
  });
}

void scatter_steps(const Sequence& s, const float* packed, std::int64_t width, std::int64_t all_steps,
                   const StepsOut& x) {
  over_steps(s, width, s.steps, [&](std::int64_t t) {
    for (std::int64_t j = 0; j < s.active[t]; ++j)
      copy_floats(packed + (s.offset[t] + j) * width, width, x.data + s.row[j] * x.row_step + t * x.time_step);
  });
  clear_padding(s, width, all_steps, x);
}

void clear_padding(const Sequence& s, std::int64_t width, std::int64_t all_steps, const StepsOut& x) {
  if (s.total == s.batch * all_steps) return;
  if (x.time_step == width) {
    core::parallel_for(s.batch, kFloats / larger(all_steps * width, 1) + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = begin; j < end; ++j) {
        const std::int64_t first = length_of(s, j) * width;
        clear_floats(all_steps * width - first, x.data + s.row[j] * x.row_step + first);
      }
    });
    return;
  }
  over_steps(s, width, all_steps, [&](std::int64_t t) {
    for (std::int64_t j = t < s.steps ? s.active[t] : 0; j < s.batch; ++j)
      clear_floats(width, x.data + s.row[j] * x.row_step + t * x.time_step);
  });
}

}  // namespace nervure::kernels::NV_ISA
