// SPDX-License-Identifier: BSD-3-Clause
// Small numbers kept as bytes: from and to vectors of 32-bit lanes. For kernel files.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

typedef std::uint8_t vbytes __attribute__((vector_size(kLanes)));

// (GCC 12 takes the conversions of vector extensions apart into single elements, here 10x slower.)

NV_INLINE vbytes narrow(vi v) {
#if defined(__AVX512F__)
  return (vbytes)_mm512_cvtepi32_epi8((__m512i)v);
#elif defined(__AVX2__)
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  return (vbytes)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
#elif defined(__x86_64__)
  const __m128i words = _mm_packs_epi32((__m128i)v, (__m128i)v);
  return (vbytes)_mm_cvtsi128_si32(_mm_packus_epi16(words, words));
#else
  return __builtin_convertvector(v, vbytes);
#endif
}

NV_INLINE vi widen(vbytes v) {
#if defined(__AVX512F__)
  return (vi)_mm512_cvtepu8_epi32((__m128i)v);
#elif defined(__AVX2__)
  std::int64_t eight;
  std::memcpy(&eight, &v, sizeof eight);
  return (vi)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(eight));
#elif defined(__SSE4_1__)
  std::int32_t four;
  std::memcpy(&four, &v, sizeof four);
  return (vi)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four));
#else
  return __builtin_convertvector(v, vi);
#endif
}

/// The first `count` lanes (at most kLanes), each 0 .. 255; writes no other byte.
NV_INLINE void store_bytes(std::uint8_t* p, vi v, std::int64_t count) {
  const vbytes bytes = narrow(v);
  if (count == kLanes) {
    std::memcpy(p, &bytes, sizeof bytes);
    return;
  }
#if defined(__AVX512F__)
  _mm_mask_storeu_epi8(p, static_cast<__mmask16>((1u << count) - 1u), (__m128i)bytes);
#else
  for (std::int64_t i = 0; i < count; ++i) p[i] = bytes[i];
#endif
}

/// The first `count` bytes, zero in the other lanes.
NV_INLINE vi load_bytes(const std::uint8_t* p, std::int64_t count) {
  vbytes bytes{};
  if (count == kLanes) {
    std::memcpy(&bytes, p, sizeof bytes);
  } else {
#if defined(__AVX512F__)
    bytes = (vbytes)_mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << count) - 1u), p);
#else
    for (std::int64_t i = 0; i < count; ++i) bytes[i] = p[i];
#endif
  }
  return widen(bytes);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
