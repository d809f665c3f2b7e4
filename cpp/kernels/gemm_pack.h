// SPDX-License-Identifier: BSD-3-Clause
// Copies of operands in the order in which tiles read them.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels::NV_ISA {

/// panel[p, j] = B[p, j] for K x columns, rows of `vectors` vectors, zero behind the last column.
/// B[p, j] = b[p * ldb + j], or b[j * ldb + p] when transposed.
void pack_b_panel(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t columns, int vectors,
                  float* panel);

/// Micro-panels of `rows` rows each, one after the other, of a transposed A: panel[p, i] = a[p * lda + i].
void pack_a_columns(const float* a, std::int64_t lda, std::int64_t K, std::int64_t panels, int rows, float* packed);

}  // namespace nervure::kernels::NV_ISA
