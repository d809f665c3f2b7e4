// SPDX-License-Identifier: BSD-3-Clause
#include "ops/broadcast.h"

#include "core/launch.h"
#include "kernels/copy.h"
#include "kernels/reduce.h"

namespace nervure::ops {

using kernels::Loops;

kernels::Element element_of(DType dtype) {
  switch (dtype) {
    case DType::int64:
      return kernels::Element::int64;
    case DType::boolean:
      return kernels::Element::boolean;
    case DType::float32:
      break;
  }
  return kernels::Element::float32;
}

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape shape = Shape::filled(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    const std::int64_t from_a = i <= a.rank() ? a[a.rank() - i] : 1;
    const std::int64_t from_b = i <= b.rank() ? b[b.rank() - i] : 1;
    NV_CHECK(from_a == from_b || from_a == 1 || from_b == 1, op, "shapes must broadcast, got ", a, " and ", b);
    shape[rank - i] = from_a == 1 ? from_b : from_a;
  }
  return shape;
}

Order broadcast_order(const Shape& shape, std::initializer_list<const Tensor*> inputs) {
  for (const Tensor* input : inputs)
    if (input->shape() == shape) return input->order();
  return Order::row_major(shape.rank());
}

namespace {

/// Append a loop, or widen the innermost one when every input (of n_inputs) allows.
void add_loop(Loops& loops, int n_inputs, std::int64_t size, const std::int64_t* strides) {
  if (size == 1) return;
  bool merge = loops.rank > 0;
  for (int k = 0; k < n_inputs && merge; ++k) merge = loops.stride[k][loops.rank - 1] == strides[k] * size;
  if (!merge) ++loops.rank;
  const int last = loops.rank - 1;
  loops.size[last] = merge ? loops.size[last] * size : size;
  for (int k = 0; k < n_inputs; ++k) loops.stride[k][last] = strides[k];
}

}  // namespace

Loops broadcast_loops(const Shape& shape, const Order& order, std::initializer_list<const Tensor*> inputs) {
  Shape strides[kernels::kMaxInputs];
  int n_inputs = 0;
  for (const Tensor* input : inputs) strides[n_inputs++] = input->strides();
  Loops loops;
  for (int position = 0; position < shape.rank(); ++position) {
    const int dim = order[position];
    std::int64_t stride[kernels::kMaxInputs];
    int k = 0;
    for (const Tensor* input : inputs) {
      const int own = dim - (shape.rank() - input->rank());
      stride[k] = own < 0 || input->size(own) == 1 ? 0 : strides[k][own];
      ++k;
    }
    add_loop(loops, n_inputs, shape[dim], stride);
  }
  return loops;
}

Loops copy_loops(const Shape& sizes, const Shape& from_strides, const Shape& to_strides) {
  int dims[core::kMaxRank];
  for (int i = 0; i < sizes.rank(); ++i) {
    int at = i;
    for (; at > 0 && std::abs(to_strides[dims[at - 1]]) < std::abs(to_strides[i]); --at) dims[at] = dims[at - 1];
    dims[at] = i;
  }
  Loops loops;
  for (int i = 0; i < sizes.rank(); ++i) {
    const std::int64_t strides[] = {from_strides[dims[i]], to_strides[dims[i]]};
    add_loop(loops, 2, sizes[dims[i]], strides);
  }
  return loops;
}

const Tensor& in_order(const Tensor& x, const Order& order, Tensor& converted) {
  if (core::same_layout(x.shape(), x.order(), order)) return x;
  converted = Tensor::empty(x.shape(), x.dtype(), order);
  const Loops loops = copy_loops(x.shape(), x.strides(), converted.strides());
  const auto bytes = static_cast<std::int64_t>(core::item_size(x.dtype()));
  core::launch(x.numel(), [loops, bytes, from = x.data(), to = converted.data()] {
    kernels::copy_strided(from, to, bytes, loops);
  });
  return converted;
}

Tensor sum_to_shape(const Tensor& dy, const Shape& shape) {
  if (dy.shape() == shape) return dy;
  const int added = dy.rank() - shape.rank();
  // Memory of dy as alternating runs of kept and summed dimensions.
  std::int64_t size[core::kMaxRank];
  bool summed[core::kMaxRank];
  int runs = 0;
  Order order = Order::row_major(shape.rank());
  int kept = 0;
  for (int position = 0; position < dy.rank(); ++position) {
    const int dim = dy.order()[position], own = dim - added;
    if (own >= 0) order[kept++] = own;
    if (dy.size(dim) == 1) continue;
    const bool sum = own < 0 || shape[own] == 1;
    if (runs > 0 && summed[runs - 1] == sum) {
      size[runs - 1] *= dy.size(dim);
    } else {
      size[runs] = dy.size(dim);
      summed[runs++] = sum;
    }
  }
  Tensor x = dy;
  for (int last = runs - 1; last >= 0; --last) {
    if (!summed[last]) continue;
    kernels::ReduceShape reduce{1, size[last], 1};
    bool more = false;
    for (int i = 0; i < last; ++i) {
      reduce.outer *= size[i];
      more |= summed[i];
    }
    for (int i = last + 1; i < runs; ++i) reduce.inner *= summed[i] ? 1 : size[i];
    const Tensor y =
        more ? Tensor::empty(Shape{reduce.outer * reduce.inner}) : Tensor::empty(shape, DType::float32, order);
    core::launch(x.numel(),
                 [reduce, from = x.f32(), to = y.f32_out()] { kernels::reduce_sum(reduce, from, 1.0f, to); });
    x = y;
  }
  return x.shape() == shape ? x : x.view_as(shape, order);
}

}  // namespace nervure::ops
