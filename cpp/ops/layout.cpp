// SPDX-License-Identifier: BSD-3-Clause
#include "core/launch.h"
#include "kernels/copy.h"
#include "ops/broadcast.h"

namespace nervure::ops {

Tensor to_order(const Tensor& x, const Order& order) {
  NV_CHECK(order.rank() == x.rank(), "to_order", "order must have ", x.rank(), " dimensions, got ", order.rank());
  if (core::same_layout(x.shape(), x.order(), order)) return x;
  Tensor y;
  in_order(x, order, y);
  if (core::needs_grad(x))
    core::record("to_order", y, {x}, core::saved(), [](core::Gradients& g) { g.set(0, g.dy()); });
  return y;
}

Tensor row_major(const Tensor& x) {
  if (x.is_row_major()) return x;
  return to_order(x, Order::row_major(x.rank()));
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const Tensor y = Tensor::empty_like(x, dtype);
  core::launch(x.numel(), [n = x.numel(), from = element_of(x.dtype()), to = element_of(dtype), px = x.data(),
                           py = y.data()] { kernels::convert(from, px, to, py, n); });
  return y;
}

namespace {

/// Dense copy of n elements.
void copy_dense(const Tensor& from, const Tensor& to) {
  kernels::Loops loops;
  loops.rank = 1;
  loops.size[0] = from.numel();
  loops.stride[0][0] = loops.stride[1][0] = 1;
  const auto bytes = static_cast<std::int64_t>(core::item_size(from.dtype()));
  core::launch(from.numel(),
               [loops, bytes, px = from.data(), py = to.data()] { kernels::copy_strided(px, py, bytes, loops); });
}

}  // namespace

Tensor clone(const Tensor& x) {
  const Tensor y = Tensor::empty_like(x);
  copy_dense(x, y);
  if (core::needs_grad(x)) core::record("clone", y, {x}, core::saved(), [](core::Gradients& g) { g.set(0, g.dy()); });
  return y;
}

void copy_(const Tensor& target, const Tensor& source) {
  const Shape& shape = target.shape();
  NV_CHECK(source.rank() <= shape.rank() && broadcast_shape("copy_", shape, source.shape()) == shape, "copy_",
           "source must broadcast to ", shape, ", got ", source.shape());
  Tensor from = cast(source, target.dtype());
  const bool same_layout = from.same_layout_as(target);
  if (same_layout && from.data() == target.data()) return;
  if (core::share_memory(from, target)) {  // a moved view of the target, or the same one in another order
    core::NoGrad no_grad;
    from = clone(from);
  }
  core::writes_into(target);
  if (same_layout) return copy_dense(from, target);
  const Shape own = from.strides();
  const int added = shape.rank() - from.rank();
  Shape strides = Shape::filled(shape.rank(), 0);
  for (int i = 0; i < from.rank(); ++i) strides[added + i] = from.size(i) == 1 ? 0 : own[i];
  const kernels::Loops loops = copy_loops(shape, strides, target.strides());
  const auto bytes = static_cast<std::int64_t>(core::item_size(target.dtype()));
  core::launch(target.numel(),
               [loops, bytes, px = from.data(), py = target.data()] { kernels::copy_strided(px, py, bytes, loops); });
}

}  // namespace nervure::ops
