// SPDX-License-Identifier: BSD-3-Clause
// What the machine can do at best: the yardsticks that the benchmarks measure other kernels by.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// Chains x = factor * x + (1 - factor) on registers, `iterations` long, in each of `chunks` independent pieces of
/// work; returns the floating-point operations done. y (chunks): a number from each, so that no work can be left out.
/// 0 < factor < 1 comes from outside, so that the compiler cannot know the results.
NV_KERNEL_RETURNING(std::int64_t, fma_peak, std::int64_t iterations, std::int64_t chunks, float factor, float* y);

/// y[i] = x[i] for n floats; no overlap.
NV_KERNEL(copy_bandwidth, const float* x, float* y, std::int64_t n);

/// y[i] = a[i] + s * b[i] for n floats; no overlap.
NV_KERNEL(triad_bandwidth, const float* a, const float* b, float s, float* y, std::int64_t n);

}  // namespace nervure::kernels
