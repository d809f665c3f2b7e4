// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_line.h"

#include "kernels/activation.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kProducts = 160;  // two vectors of each: 20 KiB
#if defined(__AVX512F__)
constexpr int rows_of_tile(int) { return 8; }
#else
constexpr int rows_of_tile(int vectors) { return vectors == 2 ? 6 : 8; }
#endif

NV_INLINE std::int64_t rounded_up(std::int64_t n, std::int64_t step) { return ceil_div(n, step) * step; }

template <int Vectors>
NV_INLINE void load_columns(const float* p, std::int64_t columns, vf (&row)[Vectors]) {
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v)
    row[v] = v < Vectors - 1 ? load(p + v * kLanes) : load_some(p + v * kLanes, columns - v * kLanes);
}

template <int Rows, int Vectors, bool Whole>
NV_INLINE void store_tile(vf (&acc)[Rows][Vectors], const ConvLine& line, float* y) {
  const std::int64_t last = Whole ? kLanes : line.columns - (Vectors - 1) * kLanes;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r, y += line.y_step)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      store_some(y + v * kLanes, acc[r][v], v < Vectors - 1 ? std::int64_t{kLanes} : last);
}

template <int Rows, int Vectors>
NV_INLINE void run_tile(const ConvLine& line, const vf (&bias)[Vectors], const float* x, float* y) {
  vf acc[Rows][Vectors];
  const float* from[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    from[r] = x + r * line.x_step;
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) acc[r][v] = bias[v];
  }
  const float* b = line.weights;
  for (std::int64_t run = 0; run < line.runs; ++run) {
    const std::int64_t begin = line.offset[run], end = begin + line.length;
    for (std::int64_t at = begin; at != end; ++at, b += Vectors * kLanes) {
      vf row[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const vf factor = broadcast(from[r][at]);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(factor, row[v], acc[r][v]);
      }
    }
  }
  if (line.relu)
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) acc[r][v] = relu(acc[r][v]);
  if (line.columns == Vectors * kLanes)
    store_tile<Rows, Vectors, true>(acc, line, y);
  else
    store_tile<Rows, Vectors, false>(acc, line, y);
}

template <int Rows, int Vectors>
void run_line(const ConvLine& line) {
  vf bias[Vectors] = {};
  if (line.bias) load_columns<Vectors>(line.bias, line.columns, bias);
  if (line.pixels < Rows) {
    for (std::int64_t j = 0; j < line.pixels; ++j)
      run_tile<1, Vectors>(line, bias, line.x + j * line.x_step, line.y + j * line.y_step);
    return;
  }
  for (std::int64_t j = 0; j < line.pixels; j += Rows) {
    const std::int64_t first = smaller(j, line.pixels - Rows);
    run_tile<Rows, Vectors>(line, bias, line.x + first * line.x_step, line.y + first * line.y_step);
  }
}

/// Of two heights, the one whose tiles overlap less.
template <int Vectors>
void run_columns(const ConvLine& line) {
  constexpr int kMost = rows_of_tile(Vectors);
  if (rounded_up(line.pixels, kMost) <= rounded_up(line.pixels, kMost - 1))
    run_line<kMost, Vectors>(line);
  else
    run_line<kMost - 1, Vectors>(line);
}

}  // namespace

bool is_short_line(std::int64_t products, std::int64_t pixels) {
  constexpr int kMost = rows_of_tile(2);
  const std::int64_t computed = smaller(rounded_up(pixels, kMost), rounded_up(pixels, kMost - 1));
  return products <= kProducts && 8 * computed <= 9 * pixels;
}

Panels cut_line_panels(std::int64_t columns) {
  const std::int64_t vectors = ceil_div(columns, kLanes);
  return {{2, 1}, {vectors / 2, vectors % 2}};
}

void conv_line(int vectors, const ConvLine& line) {
  if (vectors == 2)
    run_columns<2>(line);
  else
    run_columns<1>(line);
}

}  // namespace nervure::kernels::NV_ISA
