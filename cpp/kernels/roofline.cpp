// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/roofline.h"

#include "core/parallel.h"
#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// Latency x units = 4 x 2 (Intel), 4 x 2 (Zen), 4 x 4 (ARM) multiply-adds in flight; the factor and the addend need a
// register each, of 32 or 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kChains = 20;
#else
constexpr int kChains = 12;
#endif

// Elements per chunk: 256 KiB, so that claiming one costs nothing beside moving it.
constexpr std::int64_t kGrain = 64 * 1024;

float run_chains(std::int64_t iterations, float factor, float addend) {
  const vf a = broadcast(factor), b = broadcast(addend);
  vf chain[kChains];
#pragma GCC unroll 20
  for (int c = 0; c < kChains; ++c) chain[c] = broadcast(static_cast<float>(c));
  for (std::int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 20
    for (int c = 0; c < kChains; ++c) chain[c] = fma(chain[c], a, b);
  }
  vf total{};
#pragma GCC unroll 20
  for (int c = 0; c < kChains; ++c) total += chain[c];
  return sum(total);
}

}  // namespace

std::int64_t fma_peak(std::int64_t iterations, std::int64_t chunks, float factor, float* y) {
  // The chains converge to 1: neither denormal nor infinite.
  core::parallel_chunks(chunks, [=](std::int64_t chunk) { y[chunk] = run_chains(iterations, factor, 1.0f - factor); });
  return 2 * kChains * kLanes * iterations * chunks;
}

void copy_bandwidth(const float* x, float* y, std::int64_t n) {
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) store(y + i, load(x + i));
    store_partial(y + i, load_partial(x + i, end - i), end - i);
  });
}

void triad_bandwidth(const float* a, const float* b, float s, float* y, std::int64_t n) {
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    const vf factor = broadcast(s);
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) store(y + i, fma(factor, load(b + i), load(a + i)));
    store_partial(y + i, fma(factor, load_partial(b + i, end - i), load_partial(a + i, end - i)), end - i);
  });
}

}  // namespace nervure::kernels::NV_ISA
