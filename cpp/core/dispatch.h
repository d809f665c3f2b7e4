// SPDX-License-Identifier: BSD-3-Clause
// One kernel source, one object per instruction set, one choice at import.
//
// A kernel header declares    NV_KERNEL(relu_forward, const float* x, float* y, std::int64_t n);
// The kernel file defines     namespace nervure::kernels::NV_ISA { void relu_forward(...) { ... } }
// Everybody else calls        nervure::kernels::relu_forward(x, y, n);
//
// NV_ISA is defined by the build for files that are compiled once per instruction set. Such a file
// sees only its own variant, so code compiled for AVX-512 can call (and be merged with) AVX-512 code only.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define NV_X86_64 1
#else
#define NV_X86_64 0
#endif

#define NV_INLINE static inline __attribute__((always_inline))

#ifdef NV_ISA

#define NV_KERNEL_RETURNING(result, name, ...) \
  namespace NV_ISA {                           \
  result name(__VA_ARGS__);                    \
  }

#else

#include "core/cpu.h"

namespace nervure::core {

/// The variants of one kernel; a call goes to the active one.
template <class Signature>
struct Kernel;

template <class Result, class... Args>
struct Kernel<Result(Args...)> {
  Result (*variant[kIsaCount])(Args...);
  Result operator()(Args... args) const { return variant[active_isa_index.load(std::memory_order_relaxed)](args...); }
};

}  // namespace nervure::core

#if NV_X86_64
#define NV_KERNEL_RETURNING(result, name, ...) \
  namespace baseline {                         \
  result name(__VA_ARGS__);                    \
  }                                            \
  namespace avx2 {                             \
  result name(__VA_ARGS__);                    \
  }                                            \
  namespace avx512 {                           \
  result name(__VA_ARGS__);                    \
  }                                            \
  inline constexpr ::nervure::core::Kernel<result(__VA_ARGS__)> name{{baseline::name, avx2::name, avx512::name}};
#else
#define NV_KERNEL_RETURNING(result, name, ...) \
  namespace baseline {                         \
  result name(__VA_ARGS__);                    \
  }                                            \
  inline constexpr ::nervure::core::Kernel<result(__VA_ARGS__)> name{{baseline::name}};
#endif

#endif  // NV_ISA

#define NV_KERNEL(name, ...) NV_KERNEL_RETURNING(void, name, __VA_ARGS__)
