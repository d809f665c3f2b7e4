// SPDX-License-Identifier: BSD-3-Clause
// Comparisons, logic and choice, of section binary.cpp of the catalogue.
#include "kernels/compare.h"

#include "core/launch.h"
#include "ops/broadcast.h"

namespace nervure::ops {
namespace {

using kernels::Compare;

/// The type in which these two are compared, exactly where both are exact.
DType common_type(const Tensor& a, const Tensor& b) {
  if (a.dtype() == b.dtype()) return a.dtype();
  return a.dtype() == DType::float32 || b.dtype() == DType::float32 ? DType::float32 : DType::int64;
}

Tensor compare(const char* name, Compare op, const Tensor& left, const Tensor& right) {
  const DType type = common_type(left, right);
  const Tensor a = cast(left, type), b = cast(right, type);
  const Shape shape = broadcast_shape(name, a.shape(), b.shape());
  const Order order = broadcast_order(shape, {&a, &b});
  const Tensor y = Tensor::empty(shape, DType::boolean, order);
  Tensor converted[2];
  const Tensor& a_in = a.shape() == shape ? in_order(a, order, converted[0]) : a;
  const Tensor& b_in = b.shape() == shape ? in_order(b, order, converted[1]) : b;
  const kernels::Loops loops = broadcast_loops(shape, order, {&a_in, &b_in});
  core::launch(y.numel(), [op, loops, element = element_of(type), pa = a_in.data(), pb = b_in.data(),
                           py = y.mask_out()] { kernels::compare_forward(op, element, pa, pb, py, loops); });
  return y;
}

Tensor logical(const char* name, Compare op, const Tensor& a, const Tensor& b) {
  NV_CHECK_TYPE(a.dtype() == DType::boolean && b.dtype() == DType::boolean, name, "inputs must be boolean, got ",
                a.dtype(), " and ", b.dtype());
  return compare(name, op, a, b);
}

/// Not recorded; a and b of one type.
Tensor choose(const char* name, const Tensor& condition, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast_shape(name, broadcast_shape(name, condition.shape(), a.shape()), b.shape());
  const Order order = broadcast_order(shape, {&a, &b, &condition});
  const Tensor y = Tensor::empty(shape, a.dtype(), order);
  Tensor converted[3];
  const Tensor& c_in = condition.shape() == shape ? in_order(condition, order, converted[0]) : condition;
  const Tensor& a_in = a.shape() == shape ? in_order(a, order, converted[1]) : a;
  const Tensor& b_in = b.shape() == shape ? in_order(b, order, converted[2]) : b;
  const kernels::Loops loops = broadcast_loops(shape, order, {&c_in, &a_in, &b_in});
  core::launch(y.numel(), [loops, element = element_of(a.dtype()), pc = c_in.mask(), pa = a_in.data(), pb = b_in.data(),
                           py = y.data()] { kernels::where_forward(element, pc, pa, pb, py, loops); });
  return y;
}

void check_condition(const char* name, const Tensor& condition) {
  NV_CHECK_TYPE(condition.dtype() == DType::boolean, name, name[0] == 'w' ? "condition" : "mask",
                " must be boolean, got ", condition.dtype());
}

}  // namespace

Tensor eq(const Tensor& a, const Tensor& b) { return compare("eq", Compare::eq, a, b); }
Tensor ne(const Tensor& a, const Tensor& b) { return compare("ne", Compare::ne, a, b); }
Tensor lt(const Tensor& a, const Tensor& b) { return compare("lt", Compare::lt, a, b); }
Tensor le(const Tensor& a, const Tensor& b) { return compare("le", Compare::le, a, b); }
Tensor gt(const Tensor& a, const Tensor& b) { return compare("gt", Compare::gt, a, b); }
Tensor ge(const Tensor& a, const Tensor& b) { return compare("ge", Compare::ge, a, b); }

Tensor logical_and(const Tensor& a, const Tensor& b) { return logical("logical_and", Compare::logical_and, a, b); }
Tensor logical_or(const Tensor& a, const Tensor& b) { return logical("logical_or", Compare::logical_or, a, b); }

Tensor logical_not(const Tensor& a) {
  NV_CHECK_TYPE(a.dtype() == DType::boolean, "logical_not", "input must be boolean, got ", a.dtype());
  const Tensor y = Tensor::empty_like(a);
  core::launch(y.numel(),
               [from = a.mask(), to = y.mask_out(), n = y.numel()] { kernels::logical_not_forward(from, to, n); });
  return y;
}

Tensor where(const Tensor& condition, const Tensor& left, const Tensor& right) {
  check_condition("where", condition);
  const DType type = left.dtype() == right.dtype() ? left.dtype() : DType::float32;
  const Tensor a = cast(left, type), b = cast(right, type);
  const Tensor y = choose("where", condition, a, b);
  if (core::needs_grad(a, b))
    core::record("where", y, {a, b}, core::saved(condition),
                 [a_shape = a.shape(), b_shape = b.shape()](core::Gradients& g, const Tensor& condition) {
                   const Tensor zero = Tensor::scalar(0.0f);
                   if (g.wants(0)) g.set(0, sum_to_shape(choose("where", condition, g.dy(), zero), a_shape));
                   if (g.wants(1)) g.set(1, sum_to_shape(choose("where", condition, zero, g.dy()), b_shape));
                 });
  return y;
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, const Number& value) {
  check_condition("masked_fill", mask);
  const Tensor y = choose("masked_fill", mask, full(Shape{}, value, x.dtype()), x);
  if (core::needs_grad(x))
    core::record("masked_fill", y, {x}, core::saved(mask), [shape = x.shape()](core::Gradients& g, const Tensor& mask) {
      g.set(0, sum_to_shape(choose("masked_fill", mask, Tensor::scalar(0.0f), g.dy()), shape));
    });
  return y;
}

}  // namespace nervure::ops
