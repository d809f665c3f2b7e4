// SPDX-License-Identifier: BSD-3-Clause
// Running sums, products and the largest values of one axis: x is (outer, reduced, inner) in memory. Sums and products
// are kept in double. No output may share memory with an input.
#pragma once

#include "kernels/reduce.h"

namespace nervure::kernels {

/// y[r] = Σ x[s] over s <= r, or over s >= r if `from_end`: each is the other's gradient.
NV_KERNEL(running_sum, ReduceShape shape, const float* x, bool from_end, float* y)
/// y (outer, inner) = Π x; 1 when reduced = 0.
NV_KERNEL(reduce_product, ReduceShape shape, const float* x, float* y)
/// dx[r] = dy times the product of all x but x[r]; right with zeros too.
NV_KERNEL(reduce_product_backward, ReduceShape shape, const float* x, const float* dy, float* dx)
/// index (rows, k): where the k largest (smallest) of each row of x (rows, n) are; the first of equals before the
/// others, and NaN is the largest. In this order if `sorted`. 0 < k <= n < 2^32.
NV_KERNEL(top_indices, std::int64_t rows, std::int64_t n, const float* x, std::int64_t k, bool largest, bool sorted,
          std::int64_t* index)

}  // namespace nervure::kernels
