// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/binary.h"

#include "core/launch.h"
#include "ops/broadcast.h"

namespace nervure::ops {
namespace {

using kernels::Binary;
using kernels::Loops;
using kernels::Ternary;

void launch_flat(Binary op, const Tensor& a, const Tensor& b, const Tensor& y) {
  core::launch(y.numel(), [op, pa = a.f32(), pb = b.f32(), py = y.f32_out(), n = y.numel()] {
    kernels::binary_flat(op, pa, pb, py, n);
  });
}

/// a op b where one of them, of no higher rank, has one element.
Tensor scalar_binary(Binary op, const Tensor& a, const Tensor& b, const Tensor& full) {
  const Tensor y = Tensor::empty_like(full);
  Loops loops;
  loops.rank = 1;
  loops.size[0] = full.numel();
  loops.stride[0][0] = &a == &full;
  loops.stride[1][0] = &b == &full;
  core::launch(y.numel(), [op, loops, pa = a.f32(), pb = b.f32(), py = y.f32_out()] {
    kernels::binary_forward(op, pa, pb, py, loops);
  });
  return y;
}

Tensor broadcast_binary(const char* name, Binary op, const Tensor& a, const Tensor& b) {
  if (b.rank() <= a.rank() && b.numel() == 1) return scalar_binary(op, a, b, a);
  if (a.rank() <= b.rank() && a.numel() == 1) return scalar_binary(op, a, b, b);
  const Shape shape = broadcast_shape(name, a.shape(), b.shape());
  const Order order = broadcast_order(shape, {&a, &b});
  const Tensor y = Tensor::empty(shape, DType::float32, order);
  Tensor a_converted, b_converted;
  const Tensor& a_in = a.shape() == shape ? in_order(a, order, a_converted) : a;
  const Tensor& b_in = b.shape() == shape ? in_order(b, order, b_converted) : b;
  const Loops loops = broadcast_loops(shape, order, {&a_in, &b_in});
  core::launch(y.numel(), [op, loops, pa = a_in.f32(), pb = b_in.f32(), py = y.f32_out()] {
    kernels::binary_forward(op, pa, pb, py, loops);
  });
  return y;
}

/// a op b, not recorded.
Tensor binary(const char* name, Binary op, const Tensor& a, const Tensor& b) {
  if (!a.same_layout_as(b)) return broadcast_binary(name, op, a, b);
  const Tensor y = Tensor::empty_like(a);
  launch_flat(op, a, b, y);
  return y;
}

/// op(a, b, c), not recorded; broadcast, in the memory order of the first with the full shape.
Tensor ternary(Ternary op, const Tensor& dy, const Tensor& a, const Tensor& b) {
  Tensor converted[2];
  const Tensor& a_in = a.shape() == dy.shape() ? in_order(a, dy.order(), converted[0]) : a;
  const Tensor& b_in = b.shape() == dy.shape() ? in_order(b, dy.order(), converted[1]) : b;
  const Tensor y = Tensor::empty_like(dy);
  const Loops loops = broadcast_loops(dy.shape(), dy.order(), {&dy, &a_in, &b_in});
  core::launch(y.numel(), [op, loops, pd = dy.f32(), pa = a_in.f32(), pb = b_in.f32(), py = y.f32_out()] {
    kernels::ternary_forward(op, pd, pa, pb, py, loops);
  });
  return y;
}

/// `x` when the gradient that needs it is wanted.
Tensor needed_by(const Tensor& wanted, const Tensor& x) { return wanted.requires_grad() ? x : Tensor(); }

}  // namespace

Tensor add(const Tensor& left, const Tensor& right) {
  Tensor converted[2];
  const Tensor& a = as_float32(left, converted[0]);
  const Tensor& b = as_float32(right, converted[1]);
  const Tensor y = binary("add", Binary::add, a, b);
  if (core::needs_grad(a, b))
    core::record("add", y, {a, b}, core::saved(), [a_shape = a.shape(), b_shape = b.shape()](core::Gradients& g) {
      if (g.wants(0)) g.set(0, sum_to_shape(g.dy(), a_shape));
      if (g.wants(1)) g.set(1, sum_to_shape(g.dy(), b_shape));
    });
  return y;
}

Tensor sub(const Tensor& left, const Tensor& right) {
  Tensor converted[2];
  const Tensor& a = as_float32(left, converted[0]);
  const Tensor& b = as_float32(right, converted[1]);
  const Tensor y = binary("sub", Binary::sub, a, b);
  if (core::needs_grad(a, b))
    core::record("sub", y, {a, b}, core::saved(), [a_shape = a.shape(), b_shape = b.shape()](core::Gradients& g) {
      if (g.wants(0)) g.set(0, sum_to_shape(g.dy(), a_shape));
      if (g.wants(1)) g.set(1, neg(sum_to_shape(g.dy(), b_shape)));
    });
  return y;
}

Tensor mul(const Tensor& left, const Tensor& right) {
  Tensor converted[2];
  const Tensor& a = as_float32(left, converted[0]);
  const Tensor& b = as_float32(right, converted[1]);
  const Tensor y = binary("mul", Binary::mul, a, b);
  if (core::needs_grad(a, b))
    core::record("mul", y, {a, b}, core::saved(needed_by(b, a), needed_by(a, b)),
                 [a_shape = a.shape(), b_shape = b.shape()](core::Gradients& g, const Tensor& a, const Tensor& b) {
                   if (g.wants(0)) g.set(0, sum_to_shape(binary("mul", Binary::mul, g.dy(), b), a_shape));
                   if (g.wants(1)) g.set(1, sum_to_shape(binary("mul", Binary::mul, g.dy(), a), b_shape));
                 });
  return y;
}

Tensor div(const Tensor& left, const Tensor& right) {
  Tensor converted[2];
  const Tensor& a = as_float32(left, converted[0]);
  const Tensor& b = as_float32(right, converted[1]);
  const Tensor y = binary("div", Binary::div, a, b);
  if (core::needs_grad(a, b))
    core::record("div", y, {a, b}, core::saved(needed_by(b, a), b),
                 [a_shape = a.shape()](core::Gradients& g, const Tensor& a, const Tensor& b) {
                   if (g.wants(0)) g.set(0, sum_to_shape(binary("div", Binary::div, g.dy(), b), a_shape));
                   if (!g.wants(1)) return;
                   g.set(1, sum_to_shape(ternary(Ternary::div_backward, g.dy(), a, b), b.shape()));
                 });
  return y;
}

Tensor pow(const Tensor& left, const Tensor& right) {
  Tensor converted[2];
  const Tensor& a = as_float32(left, converted[0]);
  const Tensor& b = as_float32(right, converted[1]);
  const Tensor y = binary("pow", Binary::pow, a, b);
  if (core::needs_grad(a, b))
    core::record("pow", y, {a, b}, core::saved(a, b), [](core::Gradients& g, const Tensor& a, const Tensor& b) {
      if (g.wants(0)) g.set(0, sum_to_shape(ternary(Ternary::pow_backward_base, g.dy(), a, b), a.shape()));
      if (g.wants(1)) g.set(1, sum_to_shape(ternary(Ternary::pow_backward_exponent, g.dy(), a, b), b.shape()));
    });
  return y;
}

namespace {

Tensor extreme(const char* name, Binary op, Ternary backward, const Tensor& left, const Tensor& right) {
  Tensor converted[2];
  const Tensor& a = as_float32(left, converted[0]);
  const Tensor& b = as_float32(right, converted[1]);
  const Tensor y = binary(name, op, a, b);
  if (core::needs_grad(a, b))
    core::record(name, y, {a, b}, core::saved(a, b), [backward](core::Gradients& g, const Tensor& a, const Tensor& b) {
      if (g.wants(0)) g.set(0, sum_to_shape(ternary(backward, g.dy(), a, b), a.shape()));
      if (g.wants(1)) g.set(1, sum_to_shape(ternary(backward, g.dy(), b, a), b.shape()));
    });
  return y;
}

}  // namespace

Tensor maximum(const Tensor& a, const Tensor& b) {
  return extreme("maximum", Binary::maximum, Ternary::maximum_backward, a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return extreme("minimum", Binary::minimum, Ternary::minimum_backward, a, b);
}

namespace {

Tensor add_for_tape(const Tensor& a, const Tensor& b, bool in_place) {
  if (!in_place) return binary("add", Binary::add, a, b);
  Tensor converted;
  core::writes_into(a);
  launch_flat(Binary::add, a, in_order(b, a.order(), converted), a);
  return a;
}

Tensor copy_for_tape(const Tensor& gradient, const Tensor& like) {
  const Tensor copy = Tensor::empty_like(like);
  copy_(copy, gradient);
  return copy;
}

}  // namespace

void initialise() {
  core::add_gradients = add_for_tape;
  core::copy_gradient = copy_for_tape;
}

}  // namespace nervure::ops
