// SPDX-License-Identifier: BSD-3-Clause
#include "ops/region.h"

#include "core/launch.h"
#include "kernels/copy.h"
#include "ops/broadcast.h"

namespace nervure::ops {

Region Region::whole(const Tensor& tensor) { return {tensor, 0, tensor.shape(), tensor.strides()}; }

Region Region::part(int dim, std::int64_t start, std::int64_t size, std::int64_t step) const {
  Region part = *this;
  part.offset += start * strides[dim];
  part.sizes[dim] = size;
  if (size > 1) part.strides[dim] *= step;  // a step that is not taken may be beyond any number
  return part;
}

void copy_region(const Region& from, const Region& to) {
  const std::int64_t n = from.sizes.numel();
  if (n == 0) return;
  const kernels::Loops loops = copy_loops(from.sizes, from.strides, to.strides);
  const auto bytes = static_cast<std::int64_t>(core::item_size(from.tensor.dtype()));
  const char* const source = static_cast<const char*>(from.tensor.data()) + from.offset * bytes;
  char* const target = static_cast<char*>(to.tensor.data()) + to.offset * bytes;
  core::launch(2 * n, [=] { kernels::copy_strided(source, target, bytes, loops); });
}

Tensor zeros(const Shape& shape, const Order& order) {
  Tensor y = Tensor::empty(shape, DType::float32, order);
  fill_(y, 0.0);
  return y;
}

}  // namespace nervure::ops
