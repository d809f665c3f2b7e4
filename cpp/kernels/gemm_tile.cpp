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

/// Biases, the old C and the rectifier.
template <int Rows, int Vectors, bool Masked>
NV_INLINE void complete(vf (&acc)[Rows][Vectors], const TileOutput& out, const float* c, std::int64_t tile) {
  if (out.column_bias) {
    vf bias[Vectors];
    load_row<Vectors, Masked>(out.column_bias + tile * out.steps.columns, out.last, bias);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += bias[v];
  }
  if (out.row_bias) {
    const float* const bias = out.row_bias + tile * out.steps.rows;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += broadcast(bias[r]);
  }
  if (out.accumulate) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r, c += out.ldc) {
      vf old[Vectors];
      load_row<Vectors, Masked>(c, out.last, old);
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
}

template <int Rows, int Vectors, bool Masked>
NV_INLINE void store_tile(const vf (&acc)[Rows][Vectors], float* c, std::int64_t ldc, std::int64_t last) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r, c += ldc) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      if (Masked && v == Vectors - 1)
        store_partial(c + v * kLanes, acc[r][v], last);
      else
        store(c + v * kLanes, acc[r][v]);
    }
  }
}

/// What a tile brings meanwhile: rows of B that it will read soon, a line of something else, or nothing since its panel
/// of B lies in the first-level cache.
enum class Brings { b, ahead, nothing };

// Where lines are fetched between groups of steps there is room for B's, which stay away from the first-level cache
// longer than the processor looks ahead.
template <Brings What>
constexpr bool kFetchesB = What == Brings::b || (What == Brings::ahead && kFetchEvery > 1);

/// One step over K: acc (+)= column of A times row of B. The first one has nothing to add to: zeros for it would be
/// moves between registers, on the ports of the products.
template <bool First, TileA Layout, int Rows, int Vectors, bool Masked, Brings What>
NV_INLINE void step(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t p,
                    const TileOutput& out, vf (&acc)[Rows][Vectors]) {
  vf row[Vectors];
  load_row<Vectors, Masked>(b, out.last, row);
  if constexpr (What == Brings::ahead && kFetchEvery == 1) __builtin_prefetch(out.ahead + out.offsets[p], 0, 2);
  if constexpr (kFetchesB<What>) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; v += kLineVectors) __builtin_prefetch(b + kPrefetch * b_stride + v * kLanes);
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    const vf x = broadcast(Layout == TileA::rows ? a[r * a_stride] : a[r]);
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) acc[r][v] = First ? x * row[v] : fma(x, row[v], acc[r][v]);
  }
}

template <TileA Layout, int Rows, int Vectors, bool Masked, Brings What>
void tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t K,
          const TileOutput& out) {
  const std::int64_t a_next = Layout == TileA::rows ? 1 : a_stride;
  const bool completes = out.column_bias || out.row_bias || out.accumulate || out.relu;
  float* c = out.c;
  for (std::int64_t t = 0; t < out.steps.count; ++t) {
    vf acc[Rows][Vectors];
    if (K > 0) {
      step<true, Layout, Rows, Vectors, Masked, What>(a, a_stride, b, b_stride, 0, out, acc);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) acc[r][v] = vf{};
    }
    std::int64_t done = 1;
    if constexpr (What == Brings::ahead && kFetchEvery > 1) {
      for (std::int64_t line = 0; done + kFetchEvery <= K; ++line, done += kFetchEvery) {
        __builtin_prefetch(out.ahead + out.offsets[line], 0, 2);
        const float *a_at = a + done * a_next, *b_at = b + done * b_stride;
#pragma GCC unroll 2
        for (int p = 0; p < kFetchEvery; ++p, a_at += a_next, b_at += b_stride)
          step<false, Layout, Rows, Vectors, Masked, What>(a_at, a_stride, b_at, b_stride, 0, out, acc);
      }
    }
#pragma GCC unroll 2
    for (std::int64_t p = done; p < K; ++p)
      step<false, Layout, Rows, Vectors, Masked, What>(a + p * a_next, a_stride, b + p * b_stride, b_stride, p, out,
                                                       acc);
    if (completes) complete<Rows, Vectors, Masked>(acc, out, c, t);
    store_tile<Rows, Vectors, Masked>(acc, c, out.ldc, out.last);
    a += out.steps.a;
    b += out.steps.b;
    c += out.steps.c;
  }
}

// One row of the table per number of rows; null where the registers do not suffice.
template <TileA Layout, int Rows, int Vectors, bool Masked>
constexpr TileFunction entry() {
  if constexpr (Rows <= max_tile_rows(Vectors))
    return tile<Layout, Rows, Vectors, Masked, Brings::b>;
  else
    return nullptr;
}

// Variants of the tiles that do most of the work in products of some size.
template <TileA Layout, int Rows, int Vectors, Brings What>
constexpr TileFunction large_entry() {
  constexpr int least = What == Brings::ahead ? kTileRows / 2 : max_tile_rows(Vectors) * 2 / 3;
  constexpr bool wide = What == Brings::ahead ? Vectors == kTileVectors - 1 : Vectors >= kTileVectors - 1 && kLanes > 4;
  if constexpr (wide && Rows > least && Rows <= max_tile_rows(Vectors))
    return tile<Layout, Rows, Vectors, false, What>;
  else
    return nullptr;
}

struct TileVariants {
  TileFunction whole, masked, fetching, resident;
};

template <TileA Layout, int Rows, int Vectors>
constexpr TileVariants variants() {
  return {entry<Layout, Rows, Vectors, false>(), entry<Layout, Rows, Vectors, true>(),
          large_entry<Layout, Rows, Vectors, Brings::ahead>(), large_entry<Layout, Rows, Vectors, Brings::nothing>()};
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

TileFunction resident_tile(TileA layout, int rows, int vectors) {
  const TileVariants& tiles = variants_of(layout, rows, vectors);
  return tiles.resident ? tiles.resident : tiles.whole;
}

}  // namespace nervure::kernels::NV_ISA
