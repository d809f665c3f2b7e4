// SPDX-License-Identifier: BSD-3-Clause
// Tensor: shape, memory order, storage, gradient, and the node of the tape that produced it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/ref.h"
#include "core/storage.h"

namespace nervure::core {

enum class DType : std::uint8_t { float32, int64, boolean };
const char* dtype_name(DType dtype);
std::size_t item_size(DType dtype);

inline constexpr int kMaxRank = 8;

/// Sizes of the dimensions; also used for strides (in elements).
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes);
  explicit Shape(const std::vector<std::int64_t>& sizes);  // throws std::invalid_argument beyond kMaxRank
  /// `rank` dimensions of the same size.
  static Shape filled(int rank, std::int64_t size);

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return size_[static_cast<std::size_t>(i)]; }
  std::int64_t& operator[](int i) { return size_[static_cast<std::size_t>(i)]; }
  const std::int64_t* begin() const { return size_.data(); }
  const std::int64_t* end() const { return size_.data() + rank_; }
  std::int64_t numel() const;
  void append(std::int64_t size);
  bool operator==(const Shape& other) const;
  std::vector<std::int64_t> to_vector() const { return {begin(), end()}; }
  /// "(2, 3)"
  std::string str() const;

 private:
  std::array<std::int64_t, kMaxRank> size_{};
  int rank_ = 0;
};

/// Which dimension lies where in memory, outermost first: {0, 2, 3, 1} is channels-last for (N, C, H, W).
class Order {
 public:
  Order() = default;  // of rank 0
  Order(std::initializer_list<int> dims);
  static Order row_major(int rank);
  static Order channels_last(int rank);

  int rank() const { return rank_; }
  int operator[](int position) const { return dim_[static_cast<std::size_t>(position)]; }
  int& operator[](int position) { return dim_[static_cast<std::size_t>(position)]; }
  bool operator==(const Order& other) const;

 private:
  std::array<int, kMaxRank> dim_{};
  int rank_ = 0;
};

/// Strides in elements of a dense array of this shape and order. Meaningless, like Shape::numel(), for shapes beyond 64
/// bits, which no tensor has.
Shape strides_of(const Shape& shape, const Order& order);
/// Same place for every element (dimensions of size 1 do not count).
bool same_layout(const Shape& shape, const Order& a, const Order& b);
/// Throws std::invalid_argument for a negative size, and for a shape whose strides do not fit 64 bits. Zero does not
/// hide that: strides of (2**40, 2**40, 0) do not fit either.
void check_shape(const char* op, const Shape& shape);

class Node;
class Tensor;

/// What a Tensor handle points to.
class TensorBody {
 public:
  TensorBody();
  ~TensorBody();
  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  std::int32_t use_count() const { return references_.load(std::memory_order_acquire); }

  Shape shape;
  Order order;
  DType dtype = DType::float32;
  bool requires_grad = false;  // set by the user; an output of a recorded op has a node instead
  int output_index = 0;        // which of the node's outputs this is
  Ref<Storage> storage;
  Ref<Node> node;
  Ref<TensorBody> grad;  // by Tensor::grad() and set_grad(), but for the tape

 private:
  std::atomic<std::int32_t> references_{0};
};

/// A handle: copying shares. A default-constructed one is "undefined" (absent bias, no gradient).
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Ref<TensorBody> body) : body_(std::move(body)) {}

  /// Not initialised.
  static Tensor empty(const Shape& shape, DType dtype = DType::float32);
  static Tensor empty(const Shape& shape, DType dtype, const Order& order);
  /// Not initialised; float32, or `dtype`; shape and memory order of `other`.
  static Tensor empty_like(const Tensor& other);
  static Tensor empty_like(const Tensor& other, DType dtype);
  /// Over existing memory that holds the elements in this order.
  static Tensor over(Ref<Storage> storage, const Shape& shape, DType dtype, const Order& order);
  /// A 0-d tensor.
  static Tensor scalar(float value);

  bool defined() const { return static_cast<bool>(body_); }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return body_->shape; }
  const Order& order() const { return body_->order; }
  DType dtype() const { return body_->dtype; }
  int rank() const { return body_->shape.rank(); }
  std::int64_t size(int dim) const { return body_->shape[dim]; }
  std::int64_t numel() const { return body_->shape.numel(); }
  Shape strides() const { return strides_of(shape(), order()); }
  bool is_row_major() const;
  bool same_layout_as(const Tensor& other) const;  // equal shape and place of every element

  const float* f32() const { return static_cast<const float*>(body_->storage->data()); }
  float* f32_out() const { return static_cast<float*>(body_->storage->data()); }
  const std::int64_t* i64() const { return static_cast<const std::int64_t*>(body_->storage->data()); }
  std::int64_t* i64_out() const { return static_cast<std::int64_t*>(body_->storage->data()); }
  const std::uint8_t* mask() const { return static_cast<const std::uint8_t*>(body_->storage->data()); }
  std::uint8_t* mask_out() const { return static_cast<std::uint8_t*>(body_->storage->data()); }
  void* data() const { return body_->storage->data(); }

  /// Same storage under another shape and order of the same number of elements; not recorded.
  Tensor view_as(const Shape& shape, const Order& order) const;
  /// Same storage, cut from the tape. An op that saves its own output saves y.detach(): y itself would be a cycle.
  Tensor detach() const;

  bool requires_grad() const { return body_->requires_grad || body_->node; }
  bool is_leaf() const { return !body_->node; }
  void set_requires_grad(bool value) const;
  /// The gradient of a leaf; another thread's backward() may be changing it.
  Tensor grad() const;
  void set_grad(const Tensor& grad) const;

  const Ref<TensorBody>& body() const { return body_; }

 private:
  Ref<TensorBody> body_;
};

/// Whether nobody else sees this tensor's memory, so that it may be written over or given away.
bool is_sole_owner(const Tensor& t);

/// Whether two tensors have bytes in common: views of one storage, or of overlapping NumPy arrays.
bool share_memory(const Tensor& a, const Tensor& b);

}  // namespace nervure::core
