// SPDX-License-Identifier: BSD-3-Clause
// What a fully connected layer needs beside its products.
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/activation.h"

namespace nervure::kernels {

/// y = activation(z), n elements. y may be z.
NV_KERNEL(linear_activation, Activation activation, std::int64_t n, const float* z, float* y)

/// dz = dy activation'(saved) and db = column sums of dz, in one pass over (rows, columns). `saved` is the input of the
/// activation if derivative_from_input(activation), else its output. dz or db may be null: not wanted; dz may be dy.
/// Sums are formed over blocks of rows, the blocks added in order.
NV_KERNEL(linear_epilogue_backward, Activation activation, std::int64_t rows, std::int64_t columns, const float* dy,
          const float* saved, float* dz, float* db)

}  // namespace nervure::kernels
