// SPDX-License-Identifier: BSD-3-Clause
// Sums across the lanes of several vectors at once, in one fixed order.
#pragma once

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

/// Four floats.
typedef float vq __attribute__((vector_size(16)));
typedef float vq_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

NV_INLINE vq load_quarter(const float* p) { return *reinterpret_cast<const vq_unaligned*>(p); }
NV_INLINE void store_quarter(float* p, vq v) { *reinterpret_cast<vq_unaligned*>(p) = v; }

#if defined(__AVX512F__)
#define NV_IN_QUADS(a, b, c, d) \
  a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#elif defined(__AVX2__)
#define NV_IN_QUADS(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#else
#define NV_IN_QUADS(a, b, c, d) a, b, c, d
#endif

/// The sums of the lanes of a, b, c and d.
NV_INLINE vq sum_of_four(vf a, vf b, vf c, vf d) {
  // Within each group of four lanes: (a0 + a2, b0 + b2, a1 + a3, b1 + b3), then (a, b, c, d).
  const vf ab = __builtin_shufflevector(a, b, NV_IN_QUADS(0, 0 + kLanes, 1, 1 + kLanes)) +
                __builtin_shufflevector(a, b, NV_IN_QUADS(2, 2 + kLanes, 3, 3 + kLanes));
  const vf cd = __builtin_shufflevector(c, d, NV_IN_QUADS(0, 0 + kLanes, 1, 1 + kLanes)) +
                __builtin_shufflevector(c, d, NV_IN_QUADS(2, 2 + kLanes, 3, 3 + kLanes));
  const vf all = __builtin_shufflevector(ab, cd, NV_IN_QUADS(0, 1, 0 + kLanes, 1 + kLanes)) +
                 __builtin_shufflevector(ab, cd, NV_IN_QUADS(2, 3, 2 + kLanes, 3 + kLanes));
#if defined(__AVX512F__)
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)all), _mm512_extractf32x8_ps((__m512)all, 1));
  return (vq)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  return (vq)_mm_add_ps(_mm256_castps256_ps128((__m256)all), _mm256_extractf128_ps((__m256)all, 1));
#else
  return all;
#endif
}
#undef NV_IN_QUADS

}  // namespace
}  // namespace nervure::kernels::NV_ISA
