// SPDX-License-Identifier: BSD-3-Clause
#include "core/row_gradient.h"

#include <algorithm>
#include <cstring>

namespace nervure::core {
namespace {

/// Elements of one row.
std::int64_t row_size(const Shape& shape) {
  std::int64_t n = 1;
  for (int i = 1; i < shape.rank(); ++i) n *= shape[i];
  return n;
}

std::size_t row_bytes(const Shape& shape) { return static_cast<std::size_t>(row_size(shape)) * sizeof(float); }

/// The rows of a and b, ascending, each once.
Tensor union_of(const Tensor& a, const Tensor& b) {
  std::vector<std::int64_t> both(static_cast<std::size_t>(a.numel() + b.numel()));
  const auto end = std::set_union(a.i64(), a.i64() + a.numel(), b.i64(), b.i64() + b.numel(), both.begin());
  Tensor rows = Tensor::empty(Shape{end - both.begin()}, DType::int64);
  std::copy(both.begin(), end, rows.i64_out());
  return rows;
}

}  // namespace

Tensor row_gradient(const Shape& shape, const Tensor& rows, const Tensor& values) {
  Ref<TensorBody> body(new TensorBody);
  body->shape = shape;
  body->order = Order::row_major(shape.rank());
  body->node = Ref<Node>(new RowGradient(rows, values));
  return Tensor(std::move(body));
}

const RowGradient* rows_of(const Tensor& gradient) {
  if (!gradient || !gradient.body()->node) return nullptr;
  return dynamic_cast<const RowGradient*>(gradient.body()->node.get());
}

Tensor dense_gradient(const Tensor& gradient) {
  const RowGradient& sparse = *rows_of(gradient);
  Tensor dense = Tensor::empty(gradient.shape());
  const std::size_t bytes = row_bytes(gradient.shape());
  if (dense.numel() == 0) return dense;
  std::memset(dense.f32_out(), 0, static_cast<std::size_t>(dense.numel()) * sizeof(float));
  const std::int64_t size = row_size(gradient.shape());
  for (std::int64_t i = 0; i < sparse.rows.numel(); ++i)
    std::memcpy(dense.f32_out() + sparse.rows.i64()[i] * size, sparse.values.f32() + i * size, bytes);
  return dense;
}

Tensor add_row_gradients(const Tensor& a, const Tensor& b) {
  const RowGradient &first = *rows_of(a), &second = *rows_of(b);
  const Tensor rows = union_of(first.rows, second.rows);
  Shape shape = a.shape();
  shape[0] = rows.numel();
  const Tensor values = Tensor::empty(shape);
  const std::int64_t size = row_size(shape);
  std::int64_t i = 0, j = 0;
  for (std::int64_t k = 0; k < rows.numel(); ++k) {
    const std::int64_t row = rows.i64()[k];
    const bool in_first = i < first.rows.numel() && first.rows.i64()[i] == row;
    const bool in_second = j < second.rows.numel() && second.rows.i64()[j] == row;
    const float* x = first.values.f32() + i * size;
    const float* y = second.values.f32() + j * size;
    float* const sum = values.f32_out() + k * size;
    if (in_first && in_second)
      for (std::int64_t c = 0; c < size; ++c) sum[c] = x[c] + y[c];
    else if (size > 0)
      std::memcpy(sum, in_first ? x : y, row_bytes(shape));
    i += in_first;
    j += in_second;
  }
  return row_gradient(a.shape(), rows, values);
}

}  // namespace nervure::core
