// SPDX-License-Identifier: BSD-3-Clause
// Few rows of A times a transposed B: Cᵀ = B Aᵀ, where it is the small A that is copied and transposed.
#pragma once

#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// Floats of working memory for pack_swapped.
std::int64_t swapped_size(const Gemm& product);
/// A in the order in which multiply_swapped reads it, for all chunks of columns.
void pack_swapped(const Gemm& product, float* packed);
/// Columns of C. B is transposed.
void multiply_swapped(const Gemm& product, const float* packed, Range columns);

}  // namespace nervure::kernels::NV_ISA
