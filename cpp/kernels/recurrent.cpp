// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent.h"

#include <cstring>

#include "core/parallel.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kFloats = 16 * 1024;  // to a chunk

NV_INLINE void copy_floats(const float* from, std::int64_t n, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
}

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

/// body(t, first, last) over pieces of about kFloats.
template <class Body>
void over_steps(const Sequence& s, std::int64_t width, const Body& body) {
  const std::int64_t row = width > 0 ? width : 1;
  const std::int64_t per_step = s.batch * row;
  const std::int64_t grain = per_step >= kFloats ? 1 : kFloats / (per_step > 0 ? per_step : 1);
  core::parallel_for(s.steps, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) body(t);
  });
}

}  // namespace

void gather_steps(const Sequence& s, const StepsIn& x, std::int64_t width, float* packed) {
  over_steps(s, width, [&](std::int64_t t) {
    for (std::int64_t j = 0; j < s.active[t]; ++j)
      copy_floats(x.data + s.row[j] * x.row_step + t * x.time_step, width, packed + (s.offset[t] + j) * width);
  });
}

void scatter_steps(const Sequence& s, const float* packed, std::int64_t width, std::int64_t all_steps,
                   const StepsOut& x) {
  over_steps(s, width, [&](std::int64_t t) {
    for (std::int64_t j = 0; j < s.active[t]; ++j)
      copy_floats(packed + (s.offset[t] + j) * width, width, x.data + s.row[j] * x.row_step + t * x.time_step);
  });
  clear_padding(s, width, all_steps, x);
}

void clear_padding(const Sequence& s, std::int64_t width, std::int64_t all_steps, const StepsOut& x) {
  if (s.total == s.batch * all_steps) return;
  for (std::int64_t j = 0; j < s.batch; ++j) {
    const std::int64_t length = length_of(s, j);
    float* const row = x.data + s.row[j] * x.row_step;
    if (x.time_step == width) {
      std::memset(row + length * width, 0, static_cast<std::size_t>((all_steps - length) * width) * sizeof(float));
    } else {
      for (std::int64_t t = length; t < all_steps; ++t)
        std::memset(row + t * x.time_step, 0, static_cast<std::size_t>(width) * sizeof(float));
    }
  }
}

}  // namespace nervure::kernels::NV_ISA
