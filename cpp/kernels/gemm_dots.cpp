// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_dots.h"

#include "kernels/gemm_epilogue.h"
#include "kernels/horizontal.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// Registers: Rows x Columns sums, one row's vector of A, one of B at a time.
#if defined(__AVX512F__)
constexpr int kRows = 6, kColumns = 4;
#elif defined(__AVX2__)
constexpr int kRows = 3, kColumns = 4;
#else
constexpr int kRows = 2, kColumns = 4;
#endif

// Column sums of a tile are kept in groups of four, one quarter vector each.
static_assert(kColumns == 4);

// Rows of A this long stay in the first-level cache next to those of B.
constexpr std::int64_t kDepth = 1024;

struct Rows {
  const float* first;
  std::int64_t stride;
};

template <int R>
NV_INLINE void add_products(const Rows& a, const Rows& b, std::int64_t p, std::int64_t count, vf (&acc)[R][kColumns]) {
  vf y[kColumns];
#pragma GCC unroll 4
  for (int j = 0; j < kColumns; ++j)
    y[j] = count == kLanes ? load(b.first + j * b.stride + p) : load_partial(b.first + j * b.stride + p, count);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const float* row = a.first + i * a.stride + p;
    const vf x = count == kLanes ? load(row) : load_partial(row, count);
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) acc[i][j] = fma(x, y[j], acc[i][j]);
  }
}

/// sums[i * stride + j] (+)= a_i . b_j for R x 4 dot products of length K.
template <int R>
void tile(const Rows& a, const Rows& b, std::int64_t K, bool first, float* sums, std::int64_t stride) {
  vf acc[R][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) acc[i][j] = vf{};
  std::int64_t p = 0;
  for (; p + kLanes <= K; p += kLanes) add_products<R>(a, b, p, kLanes, acc);
  if (p < K) add_products<R>(a, b, p, K - p, acc);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    vq total = sum_of_four(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
    if (!first) total += load_quarter(sums + i * stride);
    store_quarter(sums + i * stride, total);
  }
}

using Tile = void (*)(const Rows&, const Rows&, std::int64_t, bool, float*, std::int64_t);

constexpr Tile kTiles[] = {
    tile<1>, tile<2>,
#if defined(__AVX2__)
    tile<3>,
#endif
#if defined(__AVX512F__)
    tile<4>, tile<5>, tile<6>,
#endif
};

constexpr std::int64_t kStrip = 32;  // columns whose sums wait for the epilogue together

/// The columns left over, one at a time: B's row stands in for all four.
template <class Run>
NV_INLINE void edge_columns(std::int64_t left, const float* b, std::int64_t ldb, std::int64_t height, bool first,
                            float* sums, const Run& run) {
  alignas(64) float edge[kRows * kColumns];
  for (std::int64_t one = 0; one < left; ++one) {
    run(Rows{b + one * ldb, 0}, true, edge, kColumns);
    for (std::int64_t r = 0; r < height; ++r)
      sums[r * kStrip + one] = edge[r * kColumns] + (first ? 0.0f : sums[r * kStrip + one]);
  }
}

/// Sums of rows x columns over depth, added to those of the depth before.
void strip(const Gemm& g, Range rows, Range columns, Range depth, float* sums) {
  const bool first = depth.begin == 0;
  const RowTiles tiles = cut_rows(rows.size(), kRows);
  for (std::int64_t j = columns.begin; j < columns.end; j += kColumns) {
    const std::int64_t left = columns.end - j;
    const float* b = g.b + j * g.ldb + depth.begin;
    const float* a = g.a + rows.begin * g.lda + depth.begin;
    float* out = sums + j - columns.begin;
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const int height = tiles.height + (t < tiles.taller);
      const auto run = [&](const Rows& of_b, bool fresh, float* to, std::int64_t stride) {
        kTiles[height - 1]({a, g.lda}, of_b, depth.size(), fresh, to, stride);
      };
      if (left >= kColumns)
        run({b, g.ldb}, first, out, kStrip);
      else
        edge_columns(left, b, g.ldb, height, first, out, run);
      a += height * g.lda;
      out += height * kStrip;
    }
  }
}

}  // namespace

void multiply_dots(const Gemm& g, Range rows, Range columns) {
  constexpr std::int64_t kMostRows = 64;
  alignas(64) float sums[kMostRows * kStrip];
  for (std::int64_t j = columns.begin; j < columns.end; j += kStrip) {
    const Range part{j, j + kStrip < columns.end ? j + kStrip : columns.end};
    for (std::int64_t i = rows.begin; i < rows.end; i += kMostRows) {
      const Range some{i, i + kMostRows < rows.end ? i + kMostRows : rows.end};
      std::int64_t p = 0;
      do {  // once even if K is 0
        strip(g, some, part, {p, p + kDepth < g.K ? p + kDepth : g.K}, sums);
        p += kDepth;
      } while (p < g.K);
      finish_rows(g, some, part, sums, kStrip);
    }
  }
}

}  // namespace nervure::kernels::NV_ISA
