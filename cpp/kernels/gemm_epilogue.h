// SPDX-License-Identifier: BSD-3-Clause
// What happens to a product on its way into C, for the paths whose sums do not end in a tile's registers.
#pragma once

#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// C = activation(sums + biases (+ C)) for rows x columns of C; sums is their first element, `stride` floats to a row.
void finish_rows(const Gemm& product, Range rows, Range columns, const float* sums, std::int64_t stride);

/// c = activation(c) for rows x columns.
void activate_rows(Activation activation, std::int64_t rows, std::int64_t columns, float* c, std::int64_t ldc);

}  // namespace nervure::kernels::NV_ISA
