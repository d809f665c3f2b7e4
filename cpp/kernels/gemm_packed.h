// SPDX-License-Identifier: BSD-3-Clause
// Products large in every direction: operands copied into panels that stream through the caches.
#pragma once

#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// All of C, in parallel. A block of B stays in the second-level cache while rows of A, short enough for the first,
/// pass by it.
void multiply_packed(const Gemm& product);

}  // namespace nervure::kernels::NV_ISA
