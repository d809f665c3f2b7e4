// SPDX-License-Identifier: BSD-3-Clause
// A strided part of a tensor's memory: what slices, concatenations, flips and broadcasts copy from and to. Not part of
// the catalogue.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace nervure::ops {

struct Region {
  core::Tensor tensor;
  std::int64_t offset = 0;  // of its first element, in elements
  core::Shape sizes;
  core::Shape strides;  // in elements; may be 0 or negative

  static Region whole(const core::Tensor& tensor);
  /// Indices start, start + step, ... of dimension `dim`, `size` of them.
  Region part(int dim, std::int64_t start, std::int64_t size, std::int64_t step = 1) const;
};

/// Copy `from` to `to`, element by element; same sizes and type, no element of `to` twice.
void copy_region(const Region& from, const Region& to);

/// A float32 tensor of zeros.
core::Tensor zeros(const core::Shape& shape, const core::Order& order);

}  // namespace nervure::ops
