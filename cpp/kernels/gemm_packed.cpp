// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_packed.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm_pack.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr int kNarrow = kTileVectors - 1;
constexpr std::int64_t kPanel = kNarrow * kLanes;

// The block of B in the second-level cache: 600 KB for AVX-512, whose processors have 1 MiB; 200 KB for the others.
#ifndef NV_BC
#if defined(__AVX512F__)
#define NV_BC 4
#define NV_KC 768
#else
#define NV_BC 12
#define NV_KC 256
#endif
#endif
constexpr std::int64_t kBlockPanels = NV_BC;
constexpr std::int64_t kDepth = NV_KC;
constexpr std::int64_t kBlockColumns = kBlockPanels * kPanel;
// Every chunk packs its block of B for itself: in its own cache, and without waiting for anybody. That is paid back by
// the rows that use it.
constexpr std::int64_t kFewestRows = 256;
constexpr std::int64_t kChunks = 16;
// Of A copied at a time: bounds the working memory.
constexpr std::int64_t kMostRows = 4096;
constexpr std::int64_t kMostDepth = 2 * kDepth;

NV_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
NV_INLINE std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
NV_INLINE std::int64_t even_step(std::int64_t n, std::int64_t most, std::int64_t unit) {
  return ceil_div(ceil_div(n, ceil_div(n, most)), unit) * unit;
}

/// A slab of the product: rows x columns of C over part of K.
struct Slab {
  const Gemm* product;
  Range rows, depth;
  const float* packed_a;  // null: A in place
  std::int64_t a_stride;
};

void copy_a(const Gemm& g, Range rows, Range depth, float* packed, std::int64_t stride) {
  core::parallel_for(rows.size(), 4 * kLanes, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t i = rows.begin + begin;
    pack_a(g.a + (g.a_transposed ? depth.begin * g.lda + i : i * g.lda + depth.begin), g.lda, g.a_transposed,
           end - begin, depth.size(), packed + begin * stride, stride);
  });
}

void multiply_chunk(const Slab& slab, Range rows, Range columns) {
  const Gemm& g = *slab.product;
  const std::int64_t step = even_step(slab.depth.size(), kDepth, 4);
  const Panels panels = cut_narrow_panels(columns.size());
  const core::Scratch<float> scratch(static_cast<std::size_t>(ceil_div(columns.size(), kLanes) * kLanes * step));
  for (std::int64_t p = slab.depth.begin; p < slab.depth.end; p += step) {
    Pass pass{&g,     rows, columns, {p, least(p + step, slab.depth.end)}, scratch.get(), nullptr, slab.a_stride,
              p == 0, false};
    pass.last = pass.depth.end == g.K;
    if (slab.packed_a)
      pass.packed_a = slab.packed_a + (rows.begin - slab.rows.begin) * slab.a_stride + p - slab.depth.begin;
    pack_panels(g, pass.depth, columns, panels, scratch.get());
    run_pass(pass, panels, false);
  }
}

void multiply_slab(const Slab& slab) {
  const Gemm& g = *slab.product;
  const std::int64_t column_step = even_step(g.N, kBlockColumns, kPanel);
  const std::int64_t column_chunks = ceil_div(g.N, column_step);
  const std::int64_t most_rows = ceil_div(slab.rows.size(), ceil_div(kChunks, column_chunks));
  const std::int64_t row_step =
      even_step(slab.rows.size(), most_rows > kFewestRows ? most_rows : kFewestRows, kTileRows);
  const std::int64_t row_chunks = ceil_div(slab.rows.size(), row_step);
  core::parallel_chunks(row_chunks * column_chunks, [&](std::int64_t chunk) {
    const std::int64_t j = chunk / row_chunks * column_step, i = slab.rows.begin + chunk % row_chunks * row_step;
    multiply_chunk(slab, {i, least(i + row_step, slab.rows.end)}, {j, least(j + column_step, g.N)});
  });
}

}  // namespace

void multiply_packed(const Gemm& g) {
  // Rows whose distance is a multiple of 1 KiB fall on a few sets of the first-level cache and push each other out.
  const bool copies_a = g.a_transposed || (g.lda % 256 == 0 && g.N >= 2 * kBlockColumns);
  const std::int64_t depth = least(g.K, kMostDepth), rows = least(g.M, kMostRows);
  const std::int64_t a_stride = ceil_div(depth, kLanes) * kLanes + 16;
  const core::Scratch<float> scratch(
      static_cast<std::size_t>(copies_a ? ceil_div(rows, kLanes) * kLanes * a_stride : 1));
  for (std::int64_t i = 0; i < g.M; i += rows) {
    for (std::int64_t p = 0; p < g.K; p += depth) {
      Slab slab{&g, {i, least(i + rows, g.M)}, {p, least(p + depth, g.K)}, nullptr, a_stride};
      if (copies_a) {
        copy_a(g, slab.rows, slab.depth, scratch.get(), a_stride);
        slab.packed_a = scratch.get();
      }
      multiply_slab(slab);
    }
  }
}

}  // namespace nervure::kernels::NV_ISA
