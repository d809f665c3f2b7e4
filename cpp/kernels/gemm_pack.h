// SPDX-License-Identifier: BSD-3-Clause
// Copies of operands in the order in which tiles read them.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels::NV_ISA {

/// Panels of `vectors` vectors each, `depth` rows deep, one after the other: panel[p, j] = B[p, j] for p < K, zero
/// behind the last column. B[p, j] = b[p * ldb + j], or b[j * ldb + p] when transposed. K < depth fills a slice.
void pack_b(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t columns, int vectors,
            float* panels, std::int64_t depth);

/// packed[i * stride + p] = A[i, p] for rows x K; A[i, p] = a[i * lda + p], or a[p * lda + i] when transposed. Writes
/// up to the next whole vector of every row.
void pack_a(const float* a, std::int64_t lda, bool transposed, std::int64_t rows, std::int64_t K, float* packed,
            std::int64_t stride);

/// Tile by tile of a transposed A: panel t holds rows t * height ... of A, packed[t * stride + p * height + r] =
/// a[p * lda + t * height + r].
void pack_micro_panels(const float* a, std::int64_t lda, std::int64_t rows, std::int64_t K, std::int64_t height,
                       float* packed, std::int64_t stride);

}  // namespace nervure::kernels::NV_ISA
