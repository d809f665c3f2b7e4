// SPDX-License-Identifier: BSD-3-Clause
#include "core/tensor.h"

#include <algorithm>
#include <stdexcept>

#include "core/check.h"
#include "core/tape.h"

namespace nervure::core {

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::int64:
      return "int64";
    case DType::boolean:
      return "bool";
    case DType::float32:
      break;
  }
  return "float32";
}

std::size_t item_size(DType dtype) {
  return dtype == DType::float32 ? sizeof(float) : dtype == DType::int64 ? sizeof(std::int64_t) : 1;
}

Shape::Shape(std::initializer_list<std::int64_t> sizes) {
  for (std::int64_t size : sizes) append(size);
}

Shape::Shape(const std::vector<std::int64_t>& sizes) {
  for (std::int64_t size : sizes) append(size);
}

Shape Shape::filled(int rank, std::int64_t size) {
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.append(size);
  return shape;
}

void Shape::append(std::int64_t size) {
  NV_CHECK(rank_ < kMaxRank, "shape", "at most ", kMaxRank, " dimensions are supported");
  size_[static_cast<std::size_t>(rank_++)] = size;
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (std::int64_t size : *this) (void)__builtin_mul_overflow(n, size, &n);
  return n;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) {
    if (i) text += ", ";
    text += std::to_string((*this)[i]);
  }
  return text + (rank_ == 1 ? ",)" : ")");
}

Order::Order(std::initializer_list<int> dims) {
  for (int dim : dims) dim_[static_cast<std::size_t>(rank_++)] = dim;
}

Order Order::row_major(int rank) {
  Order order;
  order.rank_ = rank;
  for (int i = 0; i < rank; ++i) order[i] = i;
  return order;
}

Order Order::channels_last(int rank) {
  Order order;
  order.rank_ = rank;
  for (int i = 0; i < rank; ++i) order[i] = i == 0 ? 0 : i == rank - 1 ? 1 : i + 1;
  return order;
}

bool Order::operator==(const Order& other) const {
  return rank_ == other.rank_ && std::equal(dim_.begin(), dim_.begin() + rank_, other.dim_.begin());
}

Shape strides_of(const Shape& shape, const Order& order) {
  Shape strides = shape;
  std::int64_t stride = 1;
  for (int position = shape.rank() - 1; position >= 0; --position) {
    strides[order[position]] = stride;
    // As NumPy does it: an empty dimension leaves the strides of the others alone.
    (void)__builtin_mul_overflow(stride, std::max<std::int64_t>(shape[order[position]], 1), &stride);
  }
  return strides;
}

bool same_layout(const Shape& shape, const Order& a, const Order& b) {
  if (a == b) return true;
  const Shape strides_a = strides_of(shape, a), strides_b = strides_of(shape, b);
  for (int i = 0; i < shape.rank(); ++i)
    if (shape[i] > 1 && strides_a[i] != strides_b[i]) return false;
  return true;
}

namespace {

/// Bytes of a tensor, or an error when the shape is impossible.
std::size_t checked_bytes(const char* op, const Shape& shape, DType dtype) {
  std::int64_t n = static_cast<std::int64_t>(item_size(dtype));
  bool overflow = false;
  for (std::int64_t size : shape) {
    NV_CHECK(size >= 0, op, "sizes must not be negative, got ", shape);
    overflow |= __builtin_mul_overflow(n, std::max<std::int64_t>(size, 1), &n);
  }
  NV_CHECK(!overflow, op, "a tensor of shape ", shape, " has too many elements");
  return shape.numel() == 0 ? 0 : static_cast<std::size_t>(n);
}

}  // namespace

void check_shape(const char* op, const Shape& shape) { checked_bytes(op, shape, DType::int64); }

TensorBody::TensorBody() = default;
TensorBody::~TensorBody() = default;

Tensor Tensor::empty(const Shape& shape, DType dtype) { return empty(shape, dtype, Order::row_major(shape.rank())); }

Tensor Tensor::empty(const Shape& shape, DType dtype, const Order& order) {
  return over(Storage::allocate(checked_bytes("empty", shape, dtype)), shape, dtype, order);
}

Tensor Tensor::over(Ref<Storage> storage, const Shape& shape, DType dtype, const Order& order) {
  Ref<TensorBody> body(new TensorBody);
  body->shape = shape;
  body->order = order;
  body->dtype = dtype;
  body->storage = std::move(storage);
  return Tensor(std::move(body));
}

Tensor Tensor::empty_like(const Tensor& other) { return empty(other.shape(), other.dtype(), other.order()); }

Tensor Tensor::empty_like(const Tensor& other, DType dtype) { return empty(other.shape(), dtype, other.order()); }

Tensor Tensor::scalar(float value) {
  Tensor t = empty(Shape{});
  *t.f32_out() = value;
  return t;
}

bool Tensor::is_row_major() const { return same_layout(shape(), order(), Order::row_major(rank())); }

bool Tensor::same_layout_as(const Tensor& other) const {
  return shape() == other.shape() && same_layout(shape(), order(), other.order());
}

Tensor Tensor::view_as(const Shape& shape, const Order& order) const {
  return over(body_->storage, shape, dtype(), order);
}

Tensor Tensor::detach() const { return view_as(shape(), order()); }

void Tensor::set_requires_grad(bool value) const {
  NV_CHECK_AS(StateError, is_leaf() || value, "requires_grad_",
              "only leaf tensors can stop requiring a gradient; use detach()");
  NV_CHECK_TYPE(!value || dtype() == DType::float32, "requires_grad_", "only float32 tensors have gradients, got ",
                dtype());
  if (is_leaf()) body_->requires_grad = value;
}

bool is_sole_owner(const Tensor& t) {
  const Storage& storage = *t.body()->storage;
  return t.body()->use_count() == 1 && storage.use_count() == 1 && !storage.is_borrowed();
}

bool share_memory(const Tensor& a, const Tensor& b) {
  const auto bytes = [](const Tensor& t) { return static_cast<std::size_t>(t.numel()) * item_size(t.dtype()); };
  const auto from_a = reinterpret_cast<std::uintptr_t>(a.data()), from_b = reinterpret_cast<std::uintptr_t>(b.data());
  return from_a < from_b + bytes(b) && from_b < from_a + bytes(a) && bytes(a) > 0 && bytes(b) > 0;
}

int normalize_dim(const char* op, std::int64_t dim, int rank) {
  const std::int64_t limit = std::max(rank, 1);  // a 0-d tensor has dimension 0 and -1, as in PyTorch
  NV_CHECK_INDEX(dim >= -limit && dim < limit, op, "dimension out of range: expected ", -limit, " to ", limit - 1,
                 ", got ", dim);
  return static_cast<int>(dim < 0 ? dim + limit : dim);
}

void check_dtype(const char* op, const char* what, const Tensor& tensor, DType expected) {
  NV_CHECK_TYPE(tensor.dtype() == expected, op, what, " must be ", expected, ", got ", tensor.dtype());
}

}  // namespace nervure::core
