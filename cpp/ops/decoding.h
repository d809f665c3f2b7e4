// SPDX-License-Identifier: BSD-3-Clause
// Operations of decoding step by step, which write to what they are given and record no gradient.
#pragma once

#include "core/tensor.h"

namespace nervure::ops {

using core::Tensor;

/// Self-attention over earlier positions and the T of packed (B, T, 3 E), as in self_attention; result (B, T, E). Their
/// keys and values are written to keys and values (B, capacity, E, row-major) behind the first `length` positions.
/// attention.cpp.
Tensor attend_cached(const Tensor& packed, const Tensor& keys, const Tensor& values, std::int64_t length,
                     std::int64_t heads);

}  // namespace nervure::ops
