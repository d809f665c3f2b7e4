// SPDX-License-Identifier: BSD-3-Clause
// Memory orders of images and sequences with channels. Not part of the catalogue.
#pragma once

#include "ops/ops.h"

namespace nervure::ops {

/// Channels innermost for x of `spatial` dimensions behind the channels, with or without a batch in front of them.
inline Order order_with_channels_last(int rank, int spatial) {
  if (rank > spatial + 1) return Order::channels_last(rank);
  Order order = Order::row_major(rank);
  for (int i = 0; i < spatial; ++i) order[i] = i + 1;
  order[spatial] = 0;
  return order;
}

/// float32 and in this order; the conversion is not recorded.
inline Tensor as_float_in_order(const Tensor& x, const Order& order) {
  const core::NoGrad no_grad;
  return to_order(x.dtype() == DType::float32 ? x : cast(x, DType::float32), order);
}

}  // namespace nervure::ops
