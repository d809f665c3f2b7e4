// SPDX-License-Identifier: BSD-3-Clause
// Transposition of square blocks in registers.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr int kQuads = kLanes / 4;  // groups of four lanes, 128 bits each

/// Quad q of the result is the four floats at x + q * 4 * x_stride. Inserting from memory leaves the shuffle port free,
/// which is what limits a transposition.
NV_INLINE vf gather_quads(const float* x, std::int64_t x_stride) {
#if defined(__AVX512F__)
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(x));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(x + 4 * x_stride), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(x + 8 * x_stride), 2);
  return (vf)_mm512_insertf32x4(v, _mm_loadu_ps(x + 12 * x_stride), 3);
#elif defined(__AVX2__)
  return (vf)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x)), _mm_loadu_ps(x + 4 * x_stride), 1);
#else
  return load(x + 0 * x_stride);
#endif
}

#if defined(__AVX512F__)
#define NV_QUADS(a, b, c, d) \
  a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#elif defined(__AVX2__)
#define NV_QUADS(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#else
#define NV_QUADS(a, b, c, d) a, b, c, d
#endif

/// y[j * y_stride + i] = x[i * x_stride + j] for a block of kLanes x kLanes.
NV_INLINE void transpose_block(const float* x, std::int64_t x_stride, float* y, std::int64_t y_stride) {
#pragma GCC unroll 4
  for (int q = 0; q < kQuads; ++q) {
    const vf a = gather_quads(x + 4 * q, x_stride);
    const vf b = gather_quads(x + 4 * q + x_stride, x_stride);
    const vf c = gather_quads(x + 4 * q + 2 * x_stride, x_stride);
    const vf d = gather_quads(x + 4 * q + 3 * x_stride, x_stride);
    const vf ac_low = __builtin_shufflevector(a, c, NV_QUADS(0, 0 + kLanes, 1, 1 + kLanes));
    const vf ac_high = __builtin_shufflevector(a, c, NV_QUADS(2, 2 + kLanes, 3, 3 + kLanes));
    const vf bd_low = __builtin_shufflevector(b, d, NV_QUADS(0, 0 + kLanes, 1, 1 + kLanes));
    const vf bd_high = __builtin_shufflevector(b, d, NV_QUADS(2, 2 + kLanes, 3, 3 + kLanes));
    float* out = y + 4 * q * y_stride;
    store(out, __builtin_shufflevector(ac_low, bd_low, NV_QUADS(0, 0 + kLanes, 1, 1 + kLanes)));
    store(out + y_stride, __builtin_shufflevector(ac_low, bd_low, NV_QUADS(2, 2 + kLanes, 3, 3 + kLanes)));
    store(out + 2 * y_stride, __builtin_shufflevector(ac_high, bd_high, NV_QUADS(0, 0 + kLanes, 1, 1 + kLanes)));
    store(out + 3 * y_stride, __builtin_shufflevector(ac_high, bd_high, NV_QUADS(2, 2 + kLanes, 3, 3 + kLanes)));
  }
}
#undef NV_QUADS

/// The same for rows x columns <= kLanes x kLanes of x; writes `columns` whole vectors to y, zero behind the last row.
NV_INLINE void transpose_edge(const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns, float* y,
                              std::int64_t y_stride) {
  alignas(64) float block[kLanes * kLanes];
  alignas(64) float transposed[kLanes * kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i)
    store(block + i * kLanes, i < rows ? load_partial(x + i * x_stride, columns) : vf{});
  transpose_block(block, kLanes, transposed, kLanes);
  for (std::int64_t j = 0; j < columns; ++j) store(y + j * y_stride, load(transposed + j * kLanes));
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
