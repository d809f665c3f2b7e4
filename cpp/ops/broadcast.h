// SPDX-License-Identifier: BSD-3-Clause
// Broadcasting and memory orders of element-wise ops. Not part of the catalogue.
#pragma once

#include "kernels/loops.h"
#include "ops/ops.h"

namespace nervure::ops {

kernels::Element element_of(DType dtype);

/// Shape of a op b by NumPy's rules; throws std::invalid_argument.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);
/// Memory order of an element-wise result of this shape: that of the first input that has it, else row-major.
Order broadcast_order(const Shape& shape, std::initializer_list<const Tensor*> inputs);
/// Loops over an array dense in `order`, its inputs broadcast to `shape`.
kernels::Loops broadcast_loops(const Shape& shape, const Order& order, std::initializer_list<const Tensor*> inputs);
/// Loops of a copy between strided arrays of the same sizes; see kernels::copy_strided.
kernels::Loops copy_loops(const Shape& sizes, const Shape& from_strides, const Shape& to_strides);

/// `x` as float32; x itself when it is. `converted` keeps what is returned alive.
inline const Tensor& as_float32(const Tensor& x, Tensor& converted) {
  if (x.dtype() == DType::float32) [[likely]]
    return x;
  return converted = cast(x, DType::float32);
}
/// `x` in this memory order, not recorded; x itself when it is.
const Tensor& in_order(const Tensor& x, const Order& order, Tensor& converted);

/// The gradient of an input of shape `shape` that was broadcast to that of dy: the sum over the broadcast dimensions.
Tensor sum_to_shape(const Tensor& dy, const Shape& shape);

}  // namespace nervure::ops
