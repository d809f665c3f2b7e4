// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_swapped.h"

#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr std::int64_t kDepth = 384;  // of one pass over K: a tile's rows of B then stay in the first-level cache
constexpr std::int64_t kStrip = 48;   // columns of C at a time: whole tiles for every instruction set

std::int64_t padded_rows(const Gemm& g) { return ceil_div(g.M, kLanes) * kLanes; }

/// A strip's part of the transposed product: sums[j * stride + i] = C[i, j].
void multiply_strip(const Gemm& g, const float* packed, Range columns, float* sums) {
  const std::int64_t stride = padded_rows(g);
  Gemm t{columns.size(),  g.M,  g.K,   g.b + columns.begin * g.ldb, g.ldb, false, g.a, g.lda,
         !g.a_transposed, sums, stride};
  const Panels panels = cut_panels(g.M);
  for (std::int64_t p = 0; p < g.K; p += kDepth) {
    const Range depth{p, smaller(p + kDepth, g.K)};
    run_pass({&t, {0, t.M}, {0, t.N}, depth, packed + p * stride, nullptr, 0, p == 0, depth.end == g.K}, panels, false);
  }
}

bool is_plain(const Gemm& g) {
  return !g.column_bias && !g.row_bias && !g.accumulate && g.activation == Activation::none;
}

}  // namespace

std::int64_t swapped_size(const Gemm& g) { return padded_rows(g) * g.K; }

void pack_swapped(const Gemm& g, float* packed) {
  Gemm t{};
  t.b = g.a;
  t.ldb = g.lda;
  t.b_transposed = !g.a_transposed;
  for (std::int64_t p = 0; p < g.K; p += kDepth)
    pack_panels(t, {p, smaller(p + kDepth, g.K)}, {0, g.M}, cut_panels(g.M), packed + p * padded_rows(g));
}

void multiply_swapped(const Gemm& g, const float* packed, Range columns) {
  const core::Scratch<float> scratch(static_cast<std::size_t>(2 * kStrip * padded_rows(g)));
  float* const sums = scratch.get();
  float* const turned = sums + kStrip * padded_rows(g);
  for (std::int64_t j = columns.begin; j < columns.end; j += kStrip) {
    const Range part{j, smaller(j + kStrip, columns.end)};
    multiply_strip(g, packed, part, sums);
    if (is_plain(g) && part.size() == kStrip) {
      pack_a(sums, padded_rows(g), true, g.M, kStrip, g.c + j, g.ldc);
    } else {
      pack_a(sums, padded_rows(g), true, g.M, part.size(), turned, kStrip);
      finish_rows(g, {0, g.M}, part, turned, kStrip);
    }
  }
}

}  // namespace nervure::kernels::NV_ISA
