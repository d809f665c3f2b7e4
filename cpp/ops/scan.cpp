// SPDX-License-Identifier: BSD-3-Clause
// What runs along one dimension: running sums, products, the largest values.
#include "kernels/scan.h"

#include "core/launch.h"
#include "ops/ops.h"
#include "ops/reduction.h"

namespace nervure::ops {
namespace {

using kernels::ReduceShape;

/// A tensor without dimensions as one of a single value.
Tensor with_dimension(const Tensor& x) { return x.rank() == 0 ? reshape(x, {1}) : x; }

/// x in the order in which `dim` lies innermost.
Tensor with_dim_last(const Tensor& x, int dim) {
  Order order = x.order();
  int position = 0;
  for (int i = 0; i < x.rank(); ++i)
    if (x.order()[i] != dim) order[position++] = x.order()[i];
  order[position] = dim;
  return to_order(x, order);
}

/// The dimension between those that lie outside and inside of it in memory.
ReduceShape shape_along(const Tensor& x, int dim) {
  ReduceShape shape{1, x.size(dim), 1};
  bool inside = false;
  for (int i = 0; i < x.rank(); ++i) {
    if (x.order()[i] == dim)
      inside = true;
    else
      (inside ? shape.inner : shape.outer) *= x.size(x.order()[i]);
  }
  return shape;
}

/// The result of a reduction of `dim`: x's shape and order, with size 1 there.
Tensor empty_kept(const Tensor& x, int dim) {
  Shape shape = x.shape();
  shape[dim] = 1;
  return Tensor::empty(shape, DType::float32, x.order());
}

Tensor prod_of_dim(const Tensor& x, int dim) {
  const ReduceShape shape = shape_along(x, dim);
  const Tensor y = empty_kept(x, dim);
  core::launch(x.numel(), [shape, x = x.f32(), y = y.f32_out()] { kernels::reduce_product(shape, x, y); });
  if (core::needs_grad(x))
    core::record("prod", y, {x}, core::saved(x.detach()),
                 [shape, order = y.order()](core::Gradients& g, const Tensor& x) {
                   const Tensor dy = to_order(g.dy(), order), dx = Tensor::empty_like(x);
                   core::launch(2 * x.numel(), [shape, x = x.f32(), dy = dy.f32(), dx = dx.f32_out()] {
                     kernels::reduce_product_backward(shape, x, dy, dx);
                   });
                   g.set(0, dx);
                 });
  return y;
}

Tensor running_sum(const Tensor& x, const ReduceShape& shape, bool from_end) {
  const Tensor y = Tensor::empty_like(x);
  core::launch(x.numel(), [=, x = x.f32(), y = y.f32_out()] { kernels::running_sum(shape, x, from_end, y); });
  return y;
}

}  // namespace

Tensor prod(const Tensor& input, OptionalDim dim, bool keepdim) {
  if (dim && input.rank() > 0) {
    const Tensor x = as_float(input);
    const int at = core::normalize_dim("prod", *dim, x.rank());
    const Tensor y = prod_of_dim(x, at);
    return keepdim ? y : squeeze(y, at);
  }
  if (dim) core::normalize_dim("prod", *dim, 0);
  const Tensor y = prod_of_dim(reshape(as_float(input), {input.numel()}), 0);
  return reshape(y, Shape::filled(keepdim ? input.rank() : 0, 1).to_vector());
}

Tensor cumsum(const Tensor& input, std::int64_t dim) {
  const int at = core::normalize_dim("cumsum", dim, input.rank());
  const Tensor x = with_dimension(as_float(input));
  const ReduceShape shape = shape_along(x, at);
  const Tensor y = running_sum(x, shape, false);
  if (core::needs_grad(x))
    core::record("cumsum", y, {x}, core::saved(), [shape, order = y.order()](core::Gradients& g) {
      g.set(0, running_sum(to_order(g.dy(), order), shape, true));
    });
  return input.rank() == 0 ? reshape(y, {}) : y;
}

std::tuple<Tensor, Tensor> topk(const Tensor& input, std::int64_t k, std::int64_t dim, bool largest, bool sorted) {
  constexpr const char* op = "topk";
  const int at = core::normalize_dim(op, dim, input.rank());
  const Tensor given = with_dimension(as_float(input)), x = with_dim_last(given.detach(), at);
  const std::int64_t n = x.size(at);
  NV_CHECK(k >= 0 && k <= n, op, "k must lie between 0 and ", n, ", the size of dimension ", dim, ", got ", k);
  NV_CHECK(n < std::int64_t{1} << 32, op, "dimension ", dim, " is too large: ", n);
  Shape shape = x.shape();
  shape[at] = k;
  const Tensor index = Tensor::empty(shape, DType::int64, x.order());
  if (index.numel() > 0)
    core::launch(x.numel(), [=, rows = x.numel() / n, x = x.f32(), index = index.i64_out()] {
      kernels::top_indices(rows, n, x, k, largest, sorted, index);
    });
  const Tensor values = gather(given, at, index);
  if (input.rank() > 0 || k == 0) return {values, index};
  return {reshape(values, {}), reshape(index, {})};
}

}  // namespace nervure::ops
