// SPDX-License-Identifier: BSD-3-Clause
// A float vector as wide as the instruction set has it, over compiler vector extensions: + - * / and comparisons are
// the language's own. Intrinsics stand in only where GCC was measured not to find the instruction (min/max: 1.3x in
// exp) or has no way to say it (masked load/store).
//
// Only for files compiled per instruction set. No inline function here has external linkage. Kernels do
// without <cmath>: reading it, even precompiled, takes as long as all else that comes before their first line.
#pragma once

#ifndef NV_ISA
#error "core/vec.h is for kernels, which are compiled once per instruction set"
#endif

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "core/dispatch.h"

namespace nervure::simd::NV_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

constexpr float kInfinity = __builtin_inff();

typedef float vf __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t vi __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t vu __attribute__((vector_size(4 * kLanes)));
typedef std::uint64_t vu64 __attribute__((vector_size(4 * kLanes)));  // half as many lanes
typedef float vf_unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t vi_unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

// x - 0 and not 0 + x: GCC turns the former into a broadcast and keeps a scalar addition for the latter.
NV_INLINE vf broadcast(float x) { return x - vf{}; }
NV_INLINE vi broadcast(std::int32_t x) { return x - vi{}; }

NV_INLINE vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
NV_INLINE void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }
NV_INLINE vi load(const std::int32_t* p) { return *reinterpret_cast<const vi_unaligned*>(p); }
NV_INLINE void store(std::int32_t* p, vi v) { *reinterpret_cast<vi_unaligned*>(p) = v; }

/// The first n lanes (0 <= n <= kLanes), the others zero. Reads no byte past p + n.
NV_INLINE vf load_partial(const float* p, std::int64_t n) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return (vf)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
#else
  vf v{};
  for (std::int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}

/// Write the first n lanes and nothing else.
NV_INLINE void store_partial(float* p, vf v, std::int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), (__m512)v);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane), (__m256)v);
#else
  for (std::int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

/// a < b ? a : b; a NaN in either operand gives b, as the x86 instruction does.
NV_INLINE vf min(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
  return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

/// a > b ? a : b; a NaN in either operand gives b.
NV_INLINE vf max(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

NV_INLINE vf sqrt(vf x) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (vf)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
  return (vf)vsqrtq_f32((float32x4_t)x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

NV_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }  // contracted by -ffp-contract=fast where the CPU has FMA
NV_INLINE vf select(vi mask, vf a, vf b) { return mask ? a : b; }
NV_INLINE vf abs(vf x) { return (vf)((vi)x & 0x7fffffff); }
NV_INLINE vf copysign(vf magnitude, vf sign) {
  return (vf)(((vi)magnitude & 0x7fffffff) | ((vi)sign & static_cast<std::int32_t>(0x80000000u)));
}
NV_INLINE vi is_nan(vf x) { return x != x; }
NV_INLINE vf to_float(vi x) { return __builtin_convertvector(x, vf); }
/// Towards zero. Undefined for values outside int32.
NV_INLINE vi to_int(vf x) { return __builtin_convertvector(x, vi); }

/// The 64-bit products of the lower halves of the lanes. (For `(a & mask) * (b & mask)` GCC 12 emits the full 64-bit
/// multiplication, vpmullq.)
NV_INLINE vu64 multiply_low_halves(vu64 a, vu64 b) {
#if defined(__AVX512F__)
  return (vu64)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (vu64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (vu64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
  return (vu64)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/// Sum of all lanes in a fixed order: halves folded onto each other.
NV_INLINE float sum(vf v) {
  alignas(64) float lane[kLanes];
  std::memcpy(lane, &v, sizeof v);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

/// Largest lane (no NaN among them).
NV_INLINE float max_lane(vf v) {
  float best = v[0];
#pragma GCC unroll 16
  for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

NV_INLINE float min_lane(vf v) {
  float best = v[0];
#pragma GCC unroll 16
  for (int i = 1; i < kLanes; ++i) best = v[i] < best ? v[i] : best;
  return best;
}

}  // namespace nervure::simd::NV_ISA
