// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_tile.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// Rows of B fetched ahead. The hardware does not guess rows of a matrix in place, and comes late for packed panels in
// the second-level cache: up to 1.5x for few rows of A.
constexpr int kPrefetch = 8;
constexpr int kLineVectors = 16 / kLanes;  // vectors in a cache line

template <int Vectors, bool Masked>
NV_INLINE void load_row(const float* b, std::int64_t last, vf (&row)[Vectors]) {
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v)
    row[v] = Masked && v == Vectors - 1 ? load_partial(b + v * kLanes, last) : load(b + v * kLanes);
}

template <int Rows, int Vectors, bool Masked>
NV_INLINE void write_tile(vf (&acc)[Rows][Vectors], const TileOutput& out) {
  if (out.column_bias) {
    vf bias[Vectors];
    load_row<Vectors, Masked>(out.column_bias, out.last, bias);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += bias[v];
  }
  if (out.row_bias) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += broadcast(out.row_bias[r]);
  }
  if (out.accumulate) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      vf old[Vectors];
      load_row<Vectors, Masked>(out.c + r * out.ldc, out.last, old);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += old[v];
    }
  }
  if (out.relu) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] = max(vf{}, acc[r][v]);  // in this order a NaN stays
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    float* c = out.c + r * out.ldc;
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      if (Masked && v == Vectors - 1)
        store_partial(c + v * kLanes, acc[r][v], out.last);
      else
        store(c + v * kLanes, acc[r][v]);
    }
  }
}

template <TileA Layout, int Rows, int Vectors, bool Masked, bool Fetching>
void tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t K,
          const TileOutput& out) {
  vf acc[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) acc[r][v] = vf{};
  const float* a_row[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) a_row[r] = a + r * a_stride;
#pragma GCC unroll 2
  for (std::int64_t p = 0; p < K; ++p) {
    vf row[Vectors];
    load_row<Vectors, Masked>(b, out.last, row);
    if constexpr (Fetching) {
      __builtin_prefetch(out.ahead + out.offsets[p], 0, 2);
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; v += kLineVectors) __builtin_prefetch(b + kPrefetch * b_stride + v * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const vf x = broadcast(Layout == TileA::rows ? a_row[r][p] : a[r]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
    b += b_stride;
    if (Layout == TileA::columns) a += a_stride;
  }
  write_tile<Rows, Vectors, Masked>(acc, out);
}

// One row of the table per number of rows; null where the registers do not suffice.
template <TileA Layout, int Rows, int Vectors, bool Masked, bool Fetching>
constexpr TileFunction entry() {
  if constexpr (Rows <= max_tile_rows(Vectors) && (!Fetching || (Rows > kTileRows / 2 && Vectors == kTileVectors - 1)))
    return tile<Layout, Rows, Vectors, Masked, Fetching>;
  else
    return nullptr;
}

struct TileVariants {
  TileFunction whole, masked, fetching;
};

template <TileA Layout, int Rows, int Vectors>
constexpr TileVariants variants() {
  return {entry<Layout, Rows, Vectors, false, false>(), entry<Layout, Rows, Vectors, true, false>(),
          entry<Layout, Rows, Vectors, false, true>()};
}

struct TileRow {
  TileVariants width[kTileVectors];
};

template <TileA Layout, int Rows>
constexpr TileRow row_of_table() {
  return {{
      variants<Layout, Rows, 1>(),
      variants<Layout, Rows, 2>(),
      variants<Layout, Rows, 3>(),
#if defined(__AVX512F__)
      variants<Layout, Rows, 4>(),
#endif
  }};
}

struct TileTable {
  TileRow row[kTileRows];
};

template <TileA Layout>
constexpr TileTable table_of() {
  return {{
      row_of_table<Layout, 1>(),
      row_of_table<Layout, 2>(),
      row_of_table<Layout, 3>(),
      row_of_table<Layout, 4>(),
      row_of_table<Layout, 5>(),
      row_of_table<Layout, 6>(),
#if defined(__AVX512F__)
      row_of_table<Layout, 7>(),
      row_of_table<Layout, 8>(),
#endif
  }};
}

constexpr TileTable kTables[2] = {table_of<TileA::rows>(), table_of<TileA::columns>()};

const TileVariants& variants_of(TileA layout, int rows, int vectors) {
  return kTables[static_cast<int>(layout)].row[rows - 1].width[vectors - 1];
}

}  // namespace

TileFunction tile_function(TileA layout, int rows, int vectors, bool masked) {
  const TileVariants& tiles = variants_of(layout, rows, vectors);
  return masked ? tiles.masked : tiles.whole;
}

TileFunction fetching_tile(TileA layout, int rows, int vectors) { return variants_of(layout, rows, vectors).fetching; }

}  // namespace nervure::kernels::NV_ISA
