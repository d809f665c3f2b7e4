// SPDX-License-Identifier: BSD-3-Clause
// Keys and values of the positions decoded so far. Not part of the catalogue.
#pragma once

#include <cstring>

#include "core/check.h"
#include "core/tape.h"

namespace nervure::ops {

/// (batch, capacity, width) each, row-major.
struct KeyValueStore {
  float *keys, *values;
  std::int64_t capacity;

  /// Write keys and values of packed (batch, added, 3 width) behind the first `length` positions.
  void put(const float* packed, std::int64_t batch, std::int64_t added, std::int64_t width, std::int64_t length) const {
    const std::size_t bytes = static_cast<std::size_t>(width) * sizeof(float);
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t t = 0; t < added; ++t, packed += 3 * width) {
        const std::int64_t at = (b * capacity + length + t) * width;
        std::memcpy(keys + at, packed + width, bytes);
        std::memcpy(values + at, packed + 2 * width, bytes);
      }
  }
};

/// Checks that `added` positions fit behind `length`. Whoever writes them says so first, once all is checked.
inline KeyValueStore key_value_store(const char* op, const core::Tensor& keys, const core::Tensor& values,
                                     std::int64_t batch, std::int64_t width, std::int64_t length, std::int64_t added) {
  for (const core::Tensor* store : {&keys, &values}) {
    core::check_dtype(op, "keys and values", *store, core::DType::float32);
    NV_CHECK(
        store->rank() == 3 && store->is_row_major() && store->shape() == (core::Shape{batch, store->size(1), width}),
        op, "keys and values must be (", batch, ", capacity, ", width, ") and row-major, got ", store->shape());
    NV_CHECK(!store->requires_grad(), op, "keys and values are written in place, so they must not require gradients");
  }
  NV_CHECK(keys.size(1) == values.size(1), op, "keys and values must have the same capacity, got ", keys.shape(),
           " and ", values.shape());
  const std::int64_t capacity = keys.size(1);
  NV_CHECK(length >= 0 && length <= capacity - added, op, "length + T must be at most the capacity ", capacity,
           ", got ", length, " + ", added);
  NV_CHECK(added == 0 || !core::share_memory(keys, values), op, "keys and values must not share memory");
  return {keys.f32_out(), values.f32_out(), capacity};
}

}  // namespace nervure::ops
