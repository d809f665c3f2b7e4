// SPDX-License-Identifier: BSD-3-Clause
// Small numbers kept as bytes: from and to vectors of 32-bit lanes. For kernel files.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

typedef std::uint8_t vbytes __attribute__((vector_size(kLanes)));

/// The first `count` lanes (at most kLanes), each 0 .. 255; writes no other byte.
NV_INLINE void store_bytes(std::uint8_t* p, vi v, std::int64_t count) {
  const vbytes bytes = __builtin_convertvector(v, vbytes);
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
  return __builtin_convertvector(bytes, vi);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
