// SPDX-License-Identifier: BSD-3-Clause
// What softmax and cross-entropy do to one row of n >= 1 values.
#pragma once

#include "core/vmath.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// The largest value; NaNs are passed over (they come out of the exponential that follows).
NV_INLINE float row_max(const float* x, std::int64_t n) {
  vf best[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) best[k] = broadcast(-kInfinity);
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) best[k] = max(load(x + i + k * kLanes), best[k]);
  for (; i + kLanes <= n; i += kLanes) best[0] = max(load(x + i), best[0]);
  if (i < n) best[1] = max(first_lanes(load_partial(x + i, n - i), n - i, -kInfinity), best[1]);
  return fold_max(max(max(best[0], best[1]), max(best[2], best[3])));
}

/// Σ exp(x - m), and each term to `terms` when kStore. Every term is in [0, 1] and the largest is 1: partial sums of
/// 2048 terms, then those in double, keep the error at a few units in the last place for any n.
template <bool kStore>
NV_INLINE float row_exp(const float* x, std::int64_t n, float m, float* terms) {
  constexpr std::int64_t kBlock = 2048;
  const vf shift = broadcast(m);
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = smaller(n, begin + kBlock);
    vf sum[2] = {};
    std::int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes)
#pragma GCC unroll 2
      for (int k = 0; k < 2; ++k) {
        const vf e = exp(load(x + i + k * kLanes) - shift);
        if (kStore) store(terms + i + k * kLanes, e);
        sum[k] += e;
      }
    for_vectors(i, end, [&](std::int64_t at, std::int64_t count) NV_INLINE_LAMBDA {
      const vf e = exp(load_some(x + at, count) - shift);
      if (kStore) store_some(terms + at, e, count);
      sum[0] += count == kLanes ? e : first_lanes(e, count, 0.0f);
    });
    const float block = fold_sum(sum[0] + sum[1]);
    if (n <= kBlock) return block;
    total += static_cast<double>(block);
  }
  return static_cast<float>(total);
}

/// Rows of up to so many vectors stay in registers from the load to the store.
constexpr int kShortRow = 8;

/// A row of 1 to kVectors vectors less its maximum, and the exponentials of that; lanes past the end are -infinity and
/// 0 (in a row of -infinity they are NaN, but so is all of it).
template <int kVectors>
struct ShortRow {
  vf shifted[kVectors], terms[kVectors];
  float max, sum;

  [[gnu::always_inline]] inline ShortRow(const float* x, std::int64_t n) {
    const std::int64_t left = n - (kVectors - 1) * kLanes;
    vf v[kVectors];
#pragma GCC unroll 8
    for (int k = 0; k < kVectors - 1; ++k) v[k] = load(x + k * kLanes);
    v[kVectors - 1] = first_lanes(load_partial(x + (kVectors - 1) * kLanes, left), left, -kInfinity);
    vf peak = v[0], total{};
#pragma GCC unroll 8
    for (int k = 1; k < kVectors; ++k) peak = nervure::simd::NV_ISA::max(v[k], peak);
    max = fold_max(peak);
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      shifted[k] = v[k] - broadcast(max);
      terms[k] = exp(shifted[k]);
      total += terms[k];
    }
    sum = fold_sum(total);
  }
};

/// y = map(k) for every vector k of a row of n values.
template <int kVectors, class Map>
NV_INLINE void store_short_row(float* y, std::int64_t n, const Map& map) {
#pragma GCC unroll 8
  for (int k = 0; k < kVectors - 1; ++k) store(y + k * kLanes, map(k));
  store_partial(y + (kVectors - 1) * kLanes, map(kVectors - 1), n - (kVectors - 1) * kLanes);
}

template <int kVectors>
struct Vectors {};

/// body(Vectors<k>) with the number of vectors that n values fill; false when they are more than kShortRow.
template <class Body>
NV_INLINE bool with_short_row(std::int64_t n, const Body& body) {
  switch (ceil_div(n, kLanes)) {
    case 1:
      body(Vectors<1>{});
      return true;
    case 2:
      body(Vectors<2>{});
      return true;
    case 3:
      body(Vectors<3>{});
      return true;
    case 4:
      body(Vectors<4>{});
      return true;
    case 5:
      body(Vectors<5>{});
      return true;
    case 6:
      body(Vectors<6>{});
      return true;
    case 7:
      body(Vectors<7>{});
      return true;
    case kShortRow:
      body(Vectors<kShortRow>{});
      return true;
    default:
      return false;
  }
}

/// x *= s.
NV_INLINE void row_scale(float* x, std::int64_t n, float s) {
  const vf factor = broadcast(s);
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(x + i, load_some(x + i, count) * factor, count);
  });
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
