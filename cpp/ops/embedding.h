// SPDX-License-Identifier: BSD-3-Clause
// Lookup in a table whose gradient may be row-sparse.
#pragma once

#include "ops/ops.h"

namespace nervure::ops {

/// y[...] = weight[indices[...]]: weight (V, D), indices (...) int64 in [-V, V), y (..., D). Row `padding_idx` (-1:
/// none) gets no gradient. With `sparse` a weight that is a row-major leaf gets a row-sparse gradient (row_gradient.h),
/// at a cost in proportion to the indices; else a dense one. Same bits either way, for any number of threads.
Tensor embedding(const Tensor& weight, const Tensor& indices, std::int64_t padding_idx, bool sparse);

}  // namespace nervure::ops
