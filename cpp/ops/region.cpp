// SPDX-License-Identifier: BSD-3-Clause
#include "ops/region.h"

#include "core/launch.h"
#include "ops/ops.h"

namespace nervure::ops {

Region Region::whole(const Tensor& tensor) { return {tensor, 0, tensor.shape(), tensor.strides()}; }

Region Region::part(int dim, std::int64_t start, std::int64_t size, std::int64_t step) const {
  Region part = *this;
  part.offset += start * strides[dim];
  part.sizes[dim] = size;
  part.strides[dim] *= step;
  return part;
}

void copy_region(const Region& from, const Region& to) {
  // TEMPORARY scalar
  const std::int64_t n = from.sizes.numel();
  const std::size_t bytes = core::item_size(from.tensor.dtype());
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t rest = i, a = from.offset, b = to.offset;
    for (int d = from.sizes.rank() - 1; d >= 0; --d) {
      a += rest % from.sizes[d] * from.strides[d];
      b += rest % from.sizes[d] * to.strides[d];
      rest /= from.sizes[d];
    }
    __builtin_memcpy(static_cast<char*>(to.tensor.data()) + b * static_cast<std::int64_t>(bytes),
                     static_cast<const char*>(from.tensor.data()) + a * static_cast<std::int64_t>(bytes), bytes);
  }
}

Tensor zeros(const Shape& shape, const Order& order) {
  Tensor y = Tensor::empty(shape, DType::float32, order);
  fill_(y, 0.0);
  return y;
}

}  // namespace nervure::ops
