// SPDX-License-Identifier: BSD-3-Clause
// Products of a vector and a matrix, bound by the speed at which the matrix can be read.
#pragma once

#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// Columns of the one row of C of a product with M = 1; overwrites bias and accumulation as gemm() does.
void multiply_vector(const Gemm& product, Range columns);

}  // namespace nervure::kernels::NV_ISA
