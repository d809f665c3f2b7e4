// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_line.h"

#include "kernels/activation.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kProducts = 160;  // two vectors of each: 20 KiB
// Pixels of a tile. The registers take the first; the others are for lines that it does not divide.
#if defined(__AVX512F__)
constexpr int kHeights[3] = {14, 11, 8};
#else
constexpr int kHeights[3] = {6, 5, 4};
#endif

constexpr std::int64_t kPair = 32;      // floats of two cache lines: the second one comes by itself
constexpr std::int64_t kShortRun = 32;  // all of which may bring something: more than asked for, but undivided

/// Which of the heights computes a line soonest; a tile costs about one pixel more than it has.
int best_height(std::int64_t pixels) {
  int best = 2;
  for (int i = 1; i >= 0; --i)
    if (kHeights[i] <= pixels &&
        ceil_div(pixels, kHeights[i]) * (kHeights[i] + 1) <= ceil_div(pixels, kHeights[best]) * (kHeights[best] + 1))
      best = i;
  return best;
}

template <int Vectors>
NV_INLINE void load_columns(const float* p, std::int64_t columns, vf (&row)[Vectors]) {
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v)
    row[v] = v < Vectors - 1 ? load(p + v * kLanes) : load_some(p + v * kLanes, columns - v * kLanes);
}

template <int Rows, int Vectors, bool Whole>
NV_INLINE void store_tile(vf (&acc)[Rows][Vectors], const ConvLine& line, float* y) {
  const std::int64_t last = Whole ? kLanes : line.columns - (Vectors - 1) * kLanes;
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r, y += line.y_step)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      store_some(y + v * kLanes, acc[r][v], v < Vectors - 1 ? std::int64_t{kLanes} : last);
}

/// `Steps` products of each pixel; a bringing step fetches a pair of cache lines.
template <int Steps, bool Brings, int Rows, int Vectors, int Quads>
NV_INLINE void add_steps(const float* (&from)[Quads], std::int64_t x_step, const float*& b, const float*& ahead,
                         vf (&acc)[Rows][Vectors]) {
#pragma GCC unroll 3
  for (int i = 0; i < Steps; ++i) {
    vf row[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + (i * Vectors + v) * kLanes);
    if constexpr (Brings) __builtin_prefetch(ahead + i * kPair, 0, 3);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const vf factor = broadcast(from[r / 4][r % 4 * x_step + i]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(factor, row[v], acc[r][v]);
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < Quads; ++q) from[q] += Steps;
  b += Steps * Vectors * kLanes;
  if constexpr (Brings) ahead += Steps * kPair;
}

template <bool Brings, int Rows, int Vectors>
NV_INLINE void add_run(const float* x, std::int64_t x_step, std::int64_t length, const float*& b, const float*& ahead,
                       vf (&acc)[Rows][Vectors]) {
  constexpr int kQuads = (Rows + 3) / 4;
  // Runs are taps of few channels, often three of them. Where the sums take nearly all registers GCC would spill some,
  // and under one vector the loads of the pixels are what takes the time.
  constexpr int kSteps = kLanes == 16 && Vectors == 2 && Rows < kHeights[0] ? 3 : 1;
  const float* from[kQuads];  // every fourth pixel: those between are at multiples of the step that addresses can have
#pragma GCC unroll 4
  for (int q = 0; q < kQuads; ++q) {
    from[q] = x + 4 * q * x_step;
    asm("" : "+r"(from[q]));
  }
  for (; length >= kSteps; length -= kSteps) add_steps<kSteps, Brings>(from, x_step, b, ahead, acc);
  if constexpr (kSteps > 1)
    for (; length > 0; --length) add_steps<1, Brings>(from, x_step, b, ahead, acc);
}

template <int Rows, int Vectors>
NV_INLINE void run_tile(const ConvLine& line, const vf (&bias)[Vectors], const float* x, const float* ahead,
                        std::int64_t pairs, float* y) {
  vf acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) acc[r][v] = bias[v];
  }
  const std::int64_t step = line.x_step;
  const float* b = line.weights;
  std::int64_t run = 0;
  for (; run < line.runs && pairs > 0; ++run, pairs -= line.length) {
    const float* const from = x + line.offset[run];
    const std::int64_t bringing = line.length <= kShortRun ? line.length : smaller(line.length, pairs);
    add_run<true>(from, step, bringing, b, ahead, acc);
    if (bringing < line.length) add_run<false>(from + bringing, step, line.length - bringing, b, ahead, acc);
  }
  for (; run < line.runs; ++run) add_run<false>(x + line.offset[run], step, line.length, b, ahead, acc);
  if (line.relu)
#pragma GCC unroll 16
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
      run_tile<1, Vectors>(line, bias, line.x + j * line.x_step, nullptr, 0, line.y + j * line.y_step);
    return;
  }
  const std::int64_t pairs = line.ahead ? (Rows * line.ahead_step + kPair - 1) / kPair : 0;
  const float* ahead = line.ahead;
  for (std::int64_t j = 0; j < line.pixels; j += Rows, ahead += Rows * line.ahead_step) {
    const std::int64_t first = smaller(j, line.pixels - Rows);
    run_tile<Rows, Vectors>(line, bias, line.x + first * line.x_step, ahead, pairs, line.y + first * line.y_step);
  }
}

template <int Vectors>
void run_columns(const ConvLine& line) {
  switch (best_height(line.pixels)) {
    case 0:
      return run_line<kHeights[0], Vectors>(line);
    case 1:
      return run_line<kHeights[1], Vectors>(line);
    default:
      return run_line<kHeights[2], Vectors>(line);
  }
}

}  // namespace

bool is_short_line(std::int64_t products, std::int64_t pixels) {
  const int height = kHeights[best_height(pixels)];
  return products <= kProducts && pixels >= height && 8 * ceil_div(pixels, height) * height <= 9 * pixels;
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
