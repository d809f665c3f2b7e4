// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_tile.h"

#include "kernels/activation.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

template <int Vectors, bool Masked>
NV_INLINE void load_row(const float* b, std::int64_t last, vf (&row)[Vectors]) {
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v)
    row[v] = Masked && v == Vectors - 1 ? load_partial(b + v * kLanes, last) : load(b + v * kLanes);
}

template <int Rows, int Vectors, bool Masked>
NV_INLINE void write_tile(vf (&acc)[Rows][Vectors], const ConvTileOutput& out) {
  if (out.bias) {
    vf bias[Vectors];
    load_row<Vectors, Masked>(out.bias, out.last, bias);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += bias[v];
  }
  if (out.accumulate) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      vf old[Vectors];
      load_row<Vectors, Masked>(out.c[r], out.last, old);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] += old[v];
    }
  }
  if (out.relu) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] = relu(acc[r][v]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    float* c = out.c[r];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      if (Masked && v == Vectors - 1)
        store_partial(c + v * kLanes, acc[r][v], out.last);
      else
        store(c + v * kLanes, acc[r][v]);
    }
  }
}

template <int Rows, int Vectors, bool Masked>
void tile(const float* const* a, const TileRuns& runs, const float* b, std::int64_t b_stride,
          const ConvTileOutput& out) {
  vf acc[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) acc[r][v] = vf{};
  const float* row_of_a[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) row_of_a[r] = a[r];
  const std::int64_t step = runs.step, span = runs.length * step, line = runs.ahead ? 16 : 0;
  const float* ahead = runs.ahead ? runs.ahead : b;
  for (std::int64_t j = 0; j < runs.count; ++j) {
    const std::int64_t begin = runs.offset[j], end = begin + span;
#pragma GCC unroll 2
    for (std::int64_t at = begin; at != end; at += step, b += b_stride) {
      vf row[Vectors];
      load_row<Vectors, Masked>(b, out.last, row);
      if constexpr (Vectors > 1) {  // one vector needs the load ports for its factors
        __builtin_prefetch(ahead, 0, 2);
        ahead += line;
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const vf x = broadcast(row_of_a[r][at]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(x, row[v], acc[r][v]);
      }
    }
  }
  write_tile<Rows, Vectors, Masked>(acc, out);
}

// One row of the table per number of rows; null where the registers do not suffice.
template <int Rows, int Vectors, bool Masked>
constexpr ConvTileFunction entry() {
  if constexpr (Rows <= max_tile_rows(Vectors))
    return tile<Rows, Vectors, Masked>;
  else
    return nullptr;
}

struct TileRow {
  ConvTileFunction function[kTileVectors][2];
};

template <int Rows>
constexpr TileRow row_of_table() {
  return {{
      {entry<Rows, 1, false>(), entry<Rows, 1, true>()},
      {entry<Rows, 2, false>(), entry<Rows, 2, true>()},
      {entry<Rows, 3, false>(), entry<Rows, 3, true>()},
#if defined(__AVX512F__)
      {entry<Rows, 4, false>(), entry<Rows, 4, true>()},
#endif
  }};
}

constexpr TileRow kTable[kTileRows] = {
    row_of_table<1>(), row_of_table<2>(), row_of_table<3>(), row_of_table<4>(), row_of_table<5>(), row_of_table<6>(),
#if defined(__AVX512F__)
    row_of_table<7>(), row_of_table<8>(),
#endif
};

template <int Rows>
void dense_tile(const float* a, const TileRuns& runs, const float* b, std::int64_t b_stride, float* c, std::int64_t ldc,
                bool accumulate) {
  vf acc[Rows];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) acc[r] = vf{};
  const std::int64_t step = runs.step;
  for (std::int64_t j = 0; j < runs.count; ++j) {
    const float* x = a + runs.offset[j];
    for (std::int64_t i = 0; i < runs.length; ++i, x += step, b += b_stride) {
      const vf row = load(b);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) acc[r] = fma(broadcast(x[r]), row, acc[r]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r, c += ldc) store(c, accumulate ? acc[r] + load(c) : acc[r]);
}

}  // namespace

void dense_conv_tile(bool tall, const float* a, const TileRuns& runs, const float* b, std::int64_t b_stride, float* c,
                     std::int64_t ldc, bool accumulate) {
  (tall ? dense_tile<kTallRows> : dense_tile<kLowRows>)(a, runs, b, b_stride, c, ldc, accumulate);
}

ConvTileFunction conv_tile_function(int rows, int vectors, bool masked) {
  return kTable[rows - 1].function[vectors - 1][masked];
}

}  // namespace nervure::kernels::NV_ISA
