// SPDX-License-Identifier: BSD-3-Clause
// What pooling on tensors shares with pooling on arrays. Not part of the catalogue.
#pragma once

#include <cstdint>

#include "kernels/pool.h"

namespace nervure::ops {

/// Windows along an axis of `in` elements, and how many there are; throws std::invalid_argument for impossible ones.
kernels::PoolAxis pool_axis(const char* op, std::int64_t in, std::int64_t kernel, std::int64_t stride,
                            std::int64_t padding, std::int64_t dilation, bool ceil_mode);
/// Throws std::invalid_argument when a place in the window does not fit into 32 bits.
void check_window_size(const char* op, const kernels::Pool& pool);

}  // namespace nervure::ops
