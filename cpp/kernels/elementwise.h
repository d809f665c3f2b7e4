// SPDX-License-Identifier: BSD-3-Clause
// What element-wise kernels share: loops over dense arrays, and the walk over broadcast inputs that cuts everything
// into dense blocks. An operation is thus a function of dense arrays only. For kernel files.
#pragma once

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/vec.h"
#include "kernels/loops.h"

namespace nervure::kernels::NV_ISA {

using namespace simd::NV_ISA;

/// Elements per piece of parallel work: about 10 us of arithmetic, 128 KiB of an array.
constexpr std::int64_t kGrain = 32768;
/// Elements ahead of the loop that are fetched: a page. The processor's own prefetcher stops at page boundaries and
/// does not fetch lines that are only written (relu of 100 MB: 0.76 -> 0.62 ns per element).
constexpr std::int64_t kPrefetch = 1024;
constexpr int kLine = 16, kLineVectors = kLine / kLanes;  // floats and vectors in a cache line

/// output[i] = f(inputs[0][i], inputs[1][i], ...) for whole cache lines. The only place that calls f: it is inlined
/// then, however long it is. (A call for every vector loads all constants again: tanh took 1.4 times as long.)
template <class F, class... Input>
__attribute__((noinline, noclone)) void map_lines(F f, std::int64_t n, float* output, const Input*... inputs) {
  for (std::int64_t i = 0; i < n; i += kLine) {
    __builtin_prefetch(output + i + kPrefetch, 1);
    (__builtin_prefetch(inputs + i + kPrefetch), ...);
#pragma GCC unroll 4
    for (int v = 0; v < kLineVectors; ++v) {
      const std::int64_t at = i + v * kLanes;
      store(output + at, f(load(inputs + at)...));
    }
  }
}

/// A cache line whose first n elements come from memory, the others zero.
struct PartLine {
  alignas(64) float at[kLine];
  PartLine(const float* from, std::int64_t n) {
#pragma GCC unroll 4
    for (int v = 0; v < kLine; v += kLanes) {
      const std::int64_t left = n - v;
      store(at + v, left >= kLanes ? load(from + v) : load_partial(from + v, left > 0 ? left : 0));
    }
  }
};

/// output[i] = f(inputs[0][i], inputs[1][i], ...) for dense arrays; the output may be one of the inputs.
template <class F, class... Input>
NV_INLINE void map(F f, std::int64_t n, float* output, const Input*... inputs) {
  const std::int64_t whole = n / kLine * kLine;
  if (whole > 0) map_lines(f, whole, output, inputs...);
  if (whole == n) return;
  alignas(64) float rest[kLine];
  map_lines(f, kLine, rest, static_cast<const float*>(PartLine(inputs + whole, n - whole).at)...);
  std::memcpy(output + whole, rest, static_cast<std::size_t>(n - whole) * sizeof(float));
}

/// map() in parallel.
template <class F, class... Input>
inline void map_parallel(F f, std::int64_t n, float* output, const Input*... inputs) {
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    map(f, end - begin, output + begin, (inputs + begin)...);
  });
}

/// An operation on n elements of dense arrays.
using BlockFunction = void (*)(const void* const* inputs, void* output, std::int64_t n);

struct ElementwiseJob {
  BlockFunction function;
  int n_inputs;
  const void* input[kMaxInputs];
  std::int64_t input_bytes[kMaxInputs];  // per element
  void* output;
  std::int64_t output_bytes;
};

/// Run the job over the loops, in parallel.
void run_elementwise(const ElementwiseJob& job, const Loops& loops);

/// Block function of a functor on float vectors.
template <class F>
void float_block(const void* const* inputs, void* output, std::int64_t n) {
  auto in = [&](int k) { return static_cast<const float*>(inputs[k]); };
  auto* out = static_cast<float*>(output);
  if constexpr (F::inputs == 1) map(F{}, n, out, in(0));
  if constexpr (F::inputs == 2) map(F{}, n, out, in(0), in(1));
  if constexpr (F::inputs == 3) map(F{}, n, out, in(0), in(1), in(2));
}

}  // namespace nervure::kernels::NV_ISA
