// SPDX-License-Identifier: BSD-3-Clause
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/lanes.h"
#include "kernels/recurrent_gradients.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kRows = 256;  // to a block: the sums of blocks are added in order
constexpr int kVectors = 4;          // in registers: as many sums hide the latency of an addition

/// part[u ..] = the sums of d, times c where there is one, over a block of rows.
template <bool Products>
void sum_block(const GateGradients& d, const float* c, std::int64_t c_stride, std::int64_t first, std::int64_t last,
               float* part) {
  std::int64_t u = 0;
  for (; u + kVectors * kLanes <= d.columns; u += kVectors * kLanes) {
    vf total[kVectors] = {};
    for (std::int64_t r = first; r < last; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const vf x = load(d.data + r * d.stride + u + v * kLanes);
        total[v] = Products ? fma(x, load(c + r * c_stride + u + v * kLanes), total[v]) : total[v] + x;
      }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(part + u + v * kLanes, total[v]);
  }
  for_vectors(u, d.columns, [&](std::int64_t at, std::int64_t n) NV_INLINE_LAMBDA {
    vf total{};
    for (std::int64_t r = first; r < last; ++r) {
      const vf x = load_some(d.data + r * d.stride + at, n);
      total = Products ? fma(x, load_some(c + r * c_stride + at, n), total) : total + x;
    }
    store_some(part + at, total, n);
  });
}

template <bool Products>
void sum_columns(const GateGradients& d, const float* c, std::int64_t c_stride, float* sums) {
  const std::int64_t blocks = larger(ceil_div(d.rows, kRows), 1), columns = d.columns;
  const core::Scratch<float> parts(static_cast<std::size_t>(blocks * columns));
  core::parallel_chunks(blocks, [&](std::int64_t block) {
    sum_block<Products>(d, c, c_stride, block * kRows, smaller(d.rows, (block + 1) * kRows),
                        parts.get() + block * columns);
  });
  for_vectors(0, columns, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    vf total{};
    for (std::int64_t block = 0; block < blocks; ++block) total += load_some(parts.get() + block * columns + u, n);
    store_some(sums + u, total, n);
  });
}

}  // namespace

void column_sums(const GateGradients& d, float* sums) { sum_columns<false>(d, nullptr, 0, sums); }

void column_products(const GateGradients& d, const float* c, std::int64_t c_stride, float* sums) {
  sum_columns<true>(d, c, c_stride, sums);
}

}  // namespace nervure::kernels::NV_ISA
