// SPDX-License-Identifier: BSD-3-Clause
// Matrix products of float32: C = activation(A B + bias (+ C)).
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/activation.h"

namespace nervure::kernels {

/// One product. C is row-major, M x N; for a column-major C swap A and B: C^T = B^T A^T.
struct Gemm {
  std::int64_t M, N, K;
  const float* a;  // A[i, p] = a[i * lda + p], or a[p * lda + i] when a_transposed
  std::int64_t lda;
  bool a_transposed;
  const float* b;  // B[p, j] = b[p * ldb + j], or b[j * ldb + p] when b_transposed
  std::int64_t ldb;
  bool b_transposed;
  float* c;  // C[i, j] = c[i * ldc + j]
  std::int64_t ldc;
  const float* column_bias = nullptr;  // (N), added to every row
  const float* row_bias = nullptr;     // (M), added to every column
  bool accumulate = false;             // add what C holds, before the activation
  Activation activation = Activation::none;
};

/// Products of one shape: number (i, j) of outer x inner starts at a + i * a_outer + j * a_inner, and so on. Steps of
/// A and B may be 0. The biases are shared.
struct GemmBatch {
  std::int64_t outer, inner;
  std::int64_t a_outer, a_inner, b_outer, b_inner, c_outer, c_inner;
};

/// C does not overlap A, B or the biases. Any size may be 0; K = 0 is a product of zeros.
NV_KERNEL(gemm, const Gemm& product);
/// The products of a batch do not overlap each other.
NV_KERNEL(gemm_batched, const Gemm& product, const GemmBatch& batch);

}  // namespace nervure::kernels
