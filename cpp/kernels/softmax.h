// SPDX-License-Identifier: BSD-3-Clause
// Softmax over the middle axis of (outer, reduced, inner); every array has that shape. A row of -infinity, or one with
// a NaN or +infinity, gives NaN. The output may be the input itself.
#pragma once

#include "kernels/reduce.h"

namespace nervure::kernels {

/// y = exp(x - max) / Σ exp(x - max).
NV_KERNEL(softmax_forward, ReduceShape shape, const float* x, float* y)
/// y = x - max - log Σ exp(x - max).
NV_KERNEL(log_softmax_forward, ReduceShape shape, const float* x, float* y)
/// dx = y (dy - Σ dy y).
NV_KERNEL(softmax_backward, ReduceShape shape, const float* y, const float* dy, float* dx)
/// dx = dy - exp(y) Σ dy.
NV_KERNEL(log_softmax_backward, ReduceShape shape, const float* y, const float* dy, float* dx)

}  // namespace nervure::kernels
