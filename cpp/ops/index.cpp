// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/index.h"

#include <limits>

#include "core/launch.h"
#include "ops/ops.h"
#include "ops/region.h"

namespace nervure::ops {
namespace {

using core::normalize_dim;

/// A checked, private copy: what the caller does to `indices` later cannot send a backward out of bounds.
Tensor checked_indices(const char* op, const Tensor& indices, int dim, std::int64_t size, bool from_end) {
  core::check_dtype(op, "indices", indices, DType::int64);
  const Tensor source = row_major(indices);
  Tensor checked = Tensor::empty(indices.shape(), DType::int64);
  const std::int64_t n = indices.numel();
  const std::int64_t bad = kernels::check_indices(source.i64(), n, size, from_end, checked.i64_out());
  NV_CHECK_INDEX(bad < 0, op, "index ", source.i64()[bad], " is out of range for dimension ", dim, " with size ", size);
  return checked;
}

/// x as (outer, size, inner) around dimension `dim`, whatever the memory order.
kernels::TakeShape take_shape(const Shape& shape, const Order& order, int dim, std::int64_t count) {
  kernels::TakeShape s{1, shape[dim], 1, count};
  bool before = true;
  for (int place = 0; place < order.rank(); ++place) {
    if (order[place] == dim)
      before = false;
    else
      (before ? s.outer : s.inner) *= shape[order[place]];
  }
  return s;
}

/// x at `indices` (n, checked) of dimension `dim`, in the memory order of x. Recorded as `op`.
Tensor take(const char* op, const Tensor& x, int dim, const Tensor& indices) {
  Shape shape = x.shape();
  shape[dim] = indices.numel();
  Tensor y = Tensor::empty(shape, x.dtype(), x.order());
  const kernels::TakeShape s = take_shape(x.shape(), x.order(), dim, indices.numel());
  const auto item_bytes = static_cast<std::int64_t>(core::item_size(x.dtype()));
  if (y.numel() > 0)
    core::launch(y.numel(), [=] { kernels::take_forward(s, item_bytes, x.data(), indices.i64(), y.data()); });
  if (core::needs_grad(x))
    core::record(op, y, {x}, core::saved(),
                 [s, indices, from = x.shape(), order = x.order()](core::Gradients& gradients) {
                   const Tensor dy = to_order(gradients.dy(), order);
                   Tensor dx = Tensor::empty(from, DType::float32, order);
                   const std::int64_t work = dx.numel() + dy.numel();
                   core::launch(work, [=] { kernels::take_backward(s, dy.f32(), indices.i64(), dx.f32_out()); });
                   gradients.set(0, dx);
                 });
  return y;
}

/// A copy of the region's elements in the memory order of the tensor it belongs to.
Tensor copied(const Region& region) {
  Tensor y = Tensor::empty(region.sizes, region.tensor.dtype(), region.tensor.order());
  copy_region(region, Region::whole(y));
  return y;
}

/// The gradient of copied(): zeros but for one part.
struct PartGradient {
  Shape shape;
  Order order;
  int dim;
  std::int64_t start, size, step;

  Tensor operator()(const Tensor& dy) const {
    Tensor dx = zeros(shape, order);
    copy_region(Region::whole(dy), Region::whole(dx).part(dim, start, size, step));
    return dx;
  }
};

Order without_dim(const Order& order, int dim) {
  Order result = Order::row_major(order.rank() - 1);
  int place = 0;
  for (int i = 0; i < order.rank(); ++i)
    if (order[i] != dim) result[place++] = order[i] - (order[i] > dim ? 1 : 0);
  return result;
}

Shape without_dim(const Shape& shape, int dim) {
  Shape result;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != dim) result.append(shape[i]);
  return result;
}

/// dy of a select with the selected dimension back in, of size 1.
Tensor with_dim(const Tensor& dy, int dim) {
  Shape shape;
  Order order = Order::row_major(dy.rank() + 1);  // its first place: dimension `dim`, which has no extent
  for (int i = 0; i <= dy.rank(); ++i) {
    if (i == dim) shape.append(1);
    if (i < dy.rank()) shape.append(dy.size(i));
  }
  order[0] = dim;
  for (int i = 0; i < dy.rank(); ++i) order[i + 1] = dy.order()[i] + (dy.order()[i] >= dim ? 1 : 0);
  return dy.view_as(shape, order);
}

/// A 0-d tensor as one of one dimension.
Tensor at_least_1d(const Tensor& x) { return x.rank() > 0 ? x : x.view_as(Shape{1}, Order::row_major(1)); }

kernels::GatherShape gather_shape(const Tensor& x, int dim, const Shape& sizes) {
  kernels::GatherShape s{x.rank(), dim, {}, {}, x.numel()};
  const Shape strides = x.strides();
  for (int i = 0; i < x.rank(); ++i) {
    s.sizes[i] = sizes[i];
    s.strides[i] = strides[i];
  }
  return s;
}

}  // namespace

Tensor slice(const Tensor& x, std::int64_t dim_from_either_end, std::int64_t start, std::int64_t stop,
             std::int64_t step) {
  NV_CHECK_INDEX(x.rank() > 0, "slice", "a 0-d tensor cannot be sliced");
  const int dim = normalize_dim("slice", dim_from_either_end, x.rank());
  NV_CHECK(step >= 1, "slice", "step must be positive, got ", step);
  NV_CHECK_INDEX(start >= 0 && start <= stop && stop <= x.size(dim), "slice",
                 "needs 0 <= start <= stop <= ", x.size(dim), ", got ", start, " and ", stop);
  const std::int64_t size = (stop - start) / step + ((stop - start) % step != 0);
  Tensor y = copied(Region::whole(x).part(dim, start, size, step));
  if (core::needs_grad(x))
    core::record("slice", y, {x}, core::saved(),
                 [part = PartGradient{x.shape(), x.order(), dim, start, size, step}](core::Gradients& gradients) {
                   gradients.set(0, part(gradients.dy()));
                 });
  return y;
}

Tensor select(const Tensor& x, std::int64_t dim_from_either_end, std::int64_t index) {
  NV_CHECK_INDEX(x.rank() > 0, "select", "a 0-d tensor has no dimension to select from");
  const int dim = normalize_dim("select", dim_from_either_end, x.rank());
  const std::int64_t size = x.size(dim);
  NV_CHECK_INDEX(index >= -size && index < size, "select", "index ", index, " is out of range for dimension ", dim,
                 " with size ", size);
  const std::int64_t at = index < 0 ? index + size : index;
  Tensor y =
      copied(Region::whole(x).part(dim, at, 1)).view_as(without_dim(x.shape(), dim), without_dim(x.order(), dim));
  if (core::needs_grad(x))
    core::record("select", y, {x}, core::saved(),
                 [part = PartGradient{x.shape(), x.order(), dim, at, 1, 1}](core::Gradients& gradients) {
                   gradients.set(0, part(with_dim(gradients.dy(), part.dim)));
                 });
  return y;
}

Tensor index_select(const Tensor& x, std::int64_t dim_from_either_end, const Tensor& indices) {
  NV_CHECK_INDEX(x.rank() > 0, "index_select", "a 0-d tensor has no dimension to select from");
  NV_CHECK(indices.rank() <= 1, "index_select", "indices must be (n,), got ", indices.shape());
  const int dim = normalize_dim("index_select", dim_from_either_end, x.rank());
  return take("index_select", x, dim, checked_indices("index_select", indices, dim, x.size(dim), /*from_end=*/false));
}

Tensor take_rows(const Tensor& x, const Tensor& indices) {
  NV_CHECK_INDEX(x.rank() > 0, "take_rows", "a 0-d tensor has no rows");
  NV_CHECK(indices.rank() + x.rank() - 1 <= core::kMaxRank, "take_rows", "at most ", core::kMaxRank,
           " dimensions, got indices ", indices.shape(), " into ", x.shape());
  const Tensor checked = checked_indices("take_rows", indices, 0, x.size(0), /*from_end=*/true);
  const Tensor rows = take("take_rows", x, 0, checked);
  if (indices.rank() == 1) return rows;
  Dims shape = indices.shape().to_vector();
  for (int i = 1; i < x.rank(); ++i) shape.push_back(x.size(i));
  return reshape(rows, shape);
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  core::check_dtype("masked_select", "mask", mask, DType::boolean);
  bool leading = mask.rank() <= x.rank();
  for (int i = 0; leading && i < mask.rank(); ++i) leading = mask.size(i) == x.size(i);
  NV_CHECK_INDEX(leading, "masked_select", "mask must have the leading dimensions of ", x.shape(), ", got ",
                 mask.shape());
  const Tensor flags = row_major(mask);
  const std::int64_t n = mask.numel(), count = kernels::count_true(flags.mask(), n);
  Tensor positions = Tensor::empty(Shape{count}, DType::int64);
  kernels::true_positions(flags.mask(), count, positions.i64_out());
  Dims shape{n};
  for (int i = mask.rank(); i < x.rank(); ++i) shape.push_back(x.size(i));
  return take("masked_select", reshape(x, shape), 0, positions);
}

Tensor gather(const Tensor& input, std::int64_t dim_from_either_end, const Tensor& indices) {
  const int dim = normalize_dim("gather", dim_from_either_end, input.rank());
  NV_CHECK(indices.rank() == input.rank(), "gather", "indices must have ", input.rank(), " dimensions as x has, got ",
           indices.shape());
  for (int i = 0; i < input.rank(); ++i)
    NV_CHECK(i == dim || indices.size(i) <= input.size(i), "gather", "indices of shape ", indices.shape(),
             " reach beyond x of shape ", input.shape(), " in dimension ", i);
  const Tensor x = at_least_1d(input);
  const Tensor checked = checked_indices("gather", indices, dim, x.size(dim), /*from_end=*/false);
  const kernels::GatherShape s = gather_shape(x, dim, at_least_1d(checked).shape());
  Tensor y = Tensor::empty(indices.shape(), input.dtype());
  const auto item_bytes = static_cast<std::int64_t>(core::item_size(input.dtype()));
  if (y.numel() > 0)
    core::launch(2 * y.numel(), [=] { kernels::gather_forward(s, item_bytes, x.data(), checked.i64(), y.data()); });
  if (core::needs_grad(input))
    core::record("gather", y, {input}, core::saved(),
                 [s, checked, shape = input.shape(), order = input.order()](core::Gradients& gradients) {
                   const Tensor dy = row_major(gradients.dy());
                   Tensor dx = Tensor::empty(shape, DType::float32, order);
                   core::launch(dx.numel() + 2 * dy.numel(),
                                [=] { kernels::gather_backward(s, dy.f32(), checked.i64(), dx.f32_out()); });
                   gradients.set(0, dx);
                 });
  return y;
}

}  // namespace nervure::ops
