// SPDX-License-Identifier: BSD-3-Clause
// Filling, converting and copying between memory orders.
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/loops.h"

namespace nervure::kernels {

/// The element at sum of i_j * stride[0][j] of `from` goes to sum of i_j * stride[1][j] of `to`, elements of item_bytes
/// (1, 4 or 8) bytes. Strides may be zero or negative in `from`, in `to` no element is reached twice; no overlap. Loops
/// go from the largest to the smallest stride of `to`.
NV_KERNEL(copy_strided, const void* from, void* to, std::int64_t item_bytes, const Loops& loops);

/// y[i] = x[i] as another type. To boolean: x != 0. To int64: towards zero; the smallest int64 for NaN and values
/// outside its range.
NV_KERNEL(convert, Element from, const void* x, Element to, void* y, std::int64_t n);

/// y[i] = value, converted as in convert() (int64 takes `whole`, which may not fit a double).
NV_KERNEL(fill, Element type, void* y, std::int64_t n, double value, std::int64_t whole);
/// y[i] = start + i * step, computed in the type's own arithmetic (float32: in double, rounded once).
NV_KERNEL(arange_float, float* y, std::int64_t n, double start, double step);
NV_KERNEL(arange_int, std::int64_t* y, std::int64_t n, std::int64_t start, std::int64_t step);

}  // namespace nervure::kernels
