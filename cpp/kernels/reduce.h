// SPDX-License-Identifier: BSD-3-Clause
// Reductions of one axis: x is (outer, reduced, inner) in memory, what comes out (outer, inner). inner = 1 is a
// reduction along rows, outer = 1 one down columns. Sums are fixed trees over fixed blocks (pairwise.h).
// No output may share memory with an input.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

struct ReduceShape {
  std::int64_t outer, reduced, inner;
};

/// y = Σ x / divisor; 0 / divisor when reduced = 0.
NV_KERNEL(reduce_sum, ReduceShape shape, const float* x, float divisor, float* y)
/// y = Σ (x - mean)² / divisor; mean (outer, inner).
NV_KERNEL(reduce_squared_deviation, ReduceShape shape, const float* x, const float* mean, float divisor, float* y)
/// y = log Σ exp(x - max) + max, where an infinite maximum counts as 0; max (outer, inner).
NV_KERNEL(reduce_logsumexp, ReduceShape shape, const float* x, const float* max, float* y)
/// y = number of x equal to value; value (outer, inner).
NV_KERNEL(reduce_count_equal, ReduceShape shape, const float* x, const float* value, float* y)
/// y = Σ x / *divisor, of one row; the divisor is read through the pointer (null: 1).
NV_KERNEL(sum_all, const float* x, std::int64_t n, const float* divisor, float* y)

/// dx[o, r, i] = dy[o, i] / divisor.
NV_KERNEL(reduce_sum_backward, ReduceShape shape, const float* dy, float divisor, float* dx)
/// dx = dy · scale · (x - mean).
NV_KERNEL(reduce_var_backward, ReduceShape shape, const float* x, const float* mean, const float* dy, float scale,
          float* dx)
/// dx = dy · exp(x - y), and 0 where y is -inf.
NV_KERNEL(reduce_logsumexp_backward, ReduceShape shape, const float* x, const float* y, const float* dy, float* dx)
/// dx = dy / count where x equals y, else 0; count from reduce_count_equal. count = 0 (y is NaN) gives NaN.
NV_KERNEL(reduce_extreme_backward, ReduceShape shape, const float* x, const float* y, const float* count,
          const float* dy, float* dx)

}  // namespace nervure::kernels
