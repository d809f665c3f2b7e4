// SPDX-License-Identifier: BSD-3-Clause
// Largest and smallest values and where they are. The first of equals wins, and a NaN before everything, as in NumPy
// and PyTorch. x (outer, reduced, inner) with reduced >= 1, what comes out (outer, inner).
#pragma once

#include "kernels/reduce.h"

namespace nervure::kernels {

/// y = the largest x (the smallest unless `largest`), index = its place along the reduced axis. Either may be null.
NV_KERNEL(reduce_extreme, ReduceShape shape, const float* x, bool largest, float* y, std::int64_t* index)
/// dx = dy where index points, else 0. An index beyond the axis is passed over: users hold the indices too.
NV_KERNEL(reduce_index_backward, ReduceShape shape, const float* dy, const std::int64_t* index, float* dx)

}  // namespace nervure::kernels
