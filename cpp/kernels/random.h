// SPDX-License-Identifier: BSD-3-Clause
// Random fillings. `stream` points to {seed, offset}, read when the kernel runs; element i in memory takes number i of
// the stream (integers and permutations: numbers 2i and 2i + 1), see core/rng.h.
//
// Everything but the normal numbers has the same bits on every instruction set.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// y = low + u (high - low), u of 24 bits in [0, 1), but never above `largest`.
NV_KERNEL(random_uniform, const std::int64_t* stream, float low, float high, float largest, float* y, std::int64_t n);
/// y = mean + std z, z standard normal by Box-Muller: numbers i and i + 16 of a group give radius and angle of both.
NV_KERNEL(random_normal, const std::int64_t* stream, float mean, float std, float* y, std::int64_t n);

/// Where a normal distribution is cut: y = mean + std z in [low, high] with z between quantiles p_low and p_high.
struct TruncatedNormal {
  double mean, std, low, high;
  double p_low, p_high;  // of the lower tail, below 1/2 as far as can be: `mirror` when both were above
  bool mirror;
};
/// By inversion (Wichura, algorithm AS 241, 1988; relative error about 1e-15).
NV_KERNEL(random_truncated_normal, const std::int64_t* stream, const TruncatedNormal& distribution, float* y,
          std::int64_t n);
/// y = 1 where the number's 32 bits are below `threshold`, else 0.
NV_KERNEL(random_bernoulli, const std::int64_t* stream, std::uint32_t threshold, float* y, std::int64_t n);
/// y = low + floor(r * range / 2^64), r of 64 bits; range = 0 stands for 2^64.
NV_KERNEL(random_integers, const std::int64_t* stream, std::int64_t low, std::uint64_t range, std::int64_t* y,
          std::int64_t n);
/// y = a permutation of 0 .. n-1 (Fisher-Yates).
NV_KERNEL(random_permutation, const std::int64_t* stream, std::int64_t* y, std::int64_t n);

}  // namespace nervure::kernels
