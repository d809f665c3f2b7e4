// SPDX-License-Identifier: BSD-3-Clause
// Lanes of one vector: partial loads with a fill, and horizontal sums and maxima by halving. (The halves go through
// vectors of four floats: GCC takes lane-by-lane code apart into a chain of scalar instructions, 3x longer.)
#pragma once

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

typedef float quarter __attribute__((vector_size(16)));

NV_INLINE vi lane_numbers() {
  vi lane{};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane;
}

/// Lanes 0 .. count-1 of v, `fill` in the others.
NV_INLINE vf first_lanes(vf v, std::int64_t count, float fill) {
  return select(lane_numbers() < static_cast<std::int32_t>(count), v, broadcast(fill));
}

/// `count` is kLanes, known at compile time after inlining, or fewer: the others are zero.
NV_INLINE vf load_some(const float* p, std::int64_t count) {
  return count == kLanes ? load(p) : load_partial(p, count);
}

NV_INLINE void store_some(float* p, vf v, std::int64_t count) {
  if (count == kLanes)
    store(p, v);
  else
    store_partial(p, v, count);
}

template <class Op>
NV_INLINE quarter fold_to_quarter(vf v, const Op& op) {
  quarter part[kLanes / 4];
  std::memcpy(part, &v, sizeof v);
#pragma GCC unroll 2
  for (int half = kLanes / 8; half > 0; half /= 2)
#pragma GCC unroll 2
    for (int i = 0; i < half; ++i) part[i] = op(part[i], part[i + half]);
  return part[0];
}

/// The same bits as sum().
NV_INLINE float fold_sum(vf v) {
  const quarter q = fold_to_quarter(v, [](quarter a, quarter b) { return a + b; });
  return (q[0] + q[2]) + (q[1] + q[3]);
}

/// Largest lane (no NaN among them).
NV_INLINE float fold_max(vf v) {
  const quarter q = fold_to_quarter(v, [](quarter a, quarter b) { return a > b ? a : b; });
  const float even = q[0] > q[2] ? q[0] : q[2], odd = q[1] > q[3] ? q[1] : q[3];
  return even > odd ? even : odd;
}

NV_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
NV_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
/// a / b of numbers >= 0. A division of 64 bits costs 40 to 90 cycles on many processors, as much as a small tile.
NV_INLINE std::int64_t divide(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
  return a / b;
}
NV_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return __builtin_constant_p(b) ? (a + b - 1) / b : divide(a + b - 1, b);
}

/// body(i, count) over [begin, end) in whole vectors, then once for what is left; body must be always_inline.
template <class Body>
NV_INLINE void for_vectors(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, std::int64_t{kLanes});
  if (i < end) body(i, end - i);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA

// For lambdas whose `count` parameter must become a constant.
#define NV_INLINE_LAMBDA __attribute__((always_inline))
