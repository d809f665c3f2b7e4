// SPDX-License-Identifier: BSD-3-Clause
// A times a transposed B, both row-major: every element of C is the product of two rows that lie along K.
#pragma once

#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// rows x columns of C, tile by tile of dot products: nothing is transposed or copied, at the price of one horizontal
/// sum per element of C. For B transposed and A not.
void multiply_dots(const Gemm& product, Range rows, Range columns);

}  // namespace nervure::kernels::NV_ISA
