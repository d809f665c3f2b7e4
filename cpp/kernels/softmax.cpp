// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/softmax.h"

#include "kernels/pairwise.h"
#include "kernels/rows.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 16 * 1024;

// ---- along rows --------------------------------------------------------------------------------------------------

void softmax_row(const float* x, std::int64_t n, float* y) {
  const bool done = with_short_row(n, [=]<int kVectors>(Vectors<kVectors>) {
    const ShortRow<kVectors> row(x, n);
    const vf scale = broadcast(1.0f / row.sum);
    store_short_row<kVectors>(y, n, [&](int k) NV_INLINE_LAMBDA { return row.terms[k] * scale; });
  });
  if (done) return;
  const float sum = row_exp<true>(x, n, row_max(x, n), y);
  row_scale(y, n, 1.0f / sum);
}

void log_softmax_row(const float* x, std::int64_t n, float* y) {
  const bool done = with_short_row(n, [=]<int kVectors>(Vectors<kVectors>) {
    const ShortRow<kVectors> row(x, n);
    const vf total = log(broadcast(row.sum));
    store_short_row<kVectors>(y, n, [&](int k) NV_INLINE_LAMBDA { return row.shifted[k] - total; });
  });
  if (done) return;
  const float m = row_max(x, n);
  const vf shift = broadcast(m), total = log(broadcast(row_exp<false>(x, n, m, nullptr)));
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(y + i, load_some(x + i, count) - shift - total, count);
  });
}

void softmax_row_backward(const float* y, const float* dy, std::int64_t n, float* dx) {
  const vf dot = broadcast(fold_sum(tree_sum(0, n, [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    return load_some(y + i, count) * load_some(dy + i, count);
  })));
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(dx + i, load_some(y + i, count) * (load_some(dy + i, count) - dot), count);
  });
}

void log_softmax_row_backward(const float* y, const float* dy, std::int64_t n, float* dx) {
  const vf sum = broadcast(tree_sum(dy, n));
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(dx + i, load_some(dy + i, count) - exp(load_some(y + i, count)) * sum, count);
  });
}

// ---- down columns --------------------------------------------------------------------------------------------------

// A tile is `width` columns, at most kTile; sums run over kRunRows rows, then those sums are added up.
constexpr std::int64_t kTile = 64;
constexpr std::int64_t kRunRows = 64;

struct Tile {
  std::int64_t rows, stride, width;
};

/// total[c] = Σ over rows of map(offset, count).
template <class Map>
NV_INLINE void sum_down(const Tile& tile, float* total, const Map& map) {
  for_vectors(0, tile.width, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    vf sum{};
    for (std::int64_t first = 0; first < tile.rows; first += kRunRows) {
      const std::int64_t last = smaller(tile.rows, first + kRunRows);
      vf run{};
      for (std::int64_t r = first; r < last; ++r) run += map(r * tile.stride + c, count);
      sum += run;
    }
    store(total + c, sum);
  });
}

/// out = map(offset, c, count) for every element.
template <class Map>
NV_INLINE void map_tile(const Tile& tile, float* out, const Map& map) {
  for (std::int64_t r = 0; r < tile.rows; ++r)
    for_vectors(0, tile.width, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
      const std::int64_t at = r * tile.stride + c;
      store_some(out + at, map(at, c, count), count);
    });
}

NV_INLINE void max_down(const Tile& tile, const float* x, float* best) {
  for_vectors(0, tile.width, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    vf m = broadcast(-kInfinity);
    for (std::int64_t r = 0; r < tile.rows; ++r) m = max(load_some(x + r * tile.stride + c, count), m);
    store(best + c, m);
  });
}

void softmax_tile(const Tile& tile, const float* x, float* y) {
  alignas(64) float m[kTile], total[kTile];
  max_down(tile, x, m);
  map_tile(tile, y, [&](std::int64_t at, std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    return exp(load_some(x + at, count) - load(m + c));
  });
  sum_down(tile, total, [&](std::int64_t at, std::int64_t count) NV_INLINE_LAMBDA { return load_some(y + at, count); });
  for (std::int64_t c = 0; c < tile.width; c += kLanes) store(total + c, broadcast(1.0f) / load(total + c));
  map_tile(tile, y, [&](std::int64_t at, std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    return load_some(y + at, count) * load(total + c);
  });
}

void log_softmax_tile(const Tile& tile, const float* x, float* y) {
  alignas(64) float m[kTile], total[kTile];
  max_down(tile, x, m);
  // The sum over rows of one vector of columns: its maxima stay in a register.
  for_vectors(0, tile.width, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    const vf shift = load(m + c);
    sum_down(Tile{tile.rows, tile.stride, count}, total + c,
             [&](std::int64_t at, std::int64_t n) NV_INLINE_LAMBDA { return exp(load_some(x + c + at, n) - shift); });
    store(total + c, log(load(total + c)));
  });
  map_tile(tile, y, [&](std::int64_t at, std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    return load_some(x + at, count) - load(m + c) - load(total + c);
  });
}

void softmax_tile_backward(const Tile& tile, const float* y, const float* dy, float* dx) {
  alignas(64) float dot[kTile];
  sum_down(tile, dot, [&](std::int64_t at, std::int64_t count) NV_INLINE_LAMBDA {
    return load_some(y + at, count) * load_some(dy + at, count);
  });
  map_tile(tile, dx, [&](std::int64_t at, std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    return load_some(y + at, count) * (load_some(dy + at, count) - load(dot + c));
  });
}

void log_softmax_tile_backward(const Tile& tile, const float* y, const float* dy, float* dx) {
  alignas(64) float sum[kTile];
  sum_down(tile, sum, [&](std::int64_t at, std::int64_t count) NV_INLINE_LAMBDA { return load_some(dy + at, count); });
  map_tile(tile, dx, [&](std::int64_t at, std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    return load_some(dy + at, count) - exp(load_some(y + at, count)) * load(sum + c);
  });
}

/// row(at) for every row when inner = 1, else tile(at, tile) for every tile; `at` is the offset of its first element.
template <class Row, class Columns>
NV_INLINE void for_rows_or_tiles(const ReduceShape& shape, const Row& row, const Columns& columns) {
  if (shape.outer == 0 || shape.reduced == 0 || shape.inner == 0) return;
  if (shape.inner == 1) {
    core::parallel_for(shape.outer, larger(1, kChunk / shape.reduced), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) row(o * shape.reduced);
    });
    return;
  }
  const std::int64_t tiles = ceil_div(shape.inner, kTile);
  const std::int64_t grain = larger(1, kChunk / (shape.reduced * smaller(shape.inner, kTile)));
  core::parallel_for(shape.outer * tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t column = task % tiles * kTile;
      columns(task / tiles * shape.reduced * shape.inner + column,
              Tile{shape.reduced, shape.inner, smaller(kTile, shape.inner - column)});
    }
  });
}

}  // namespace

void softmax_forward(ReduceShape shape, const float* x, float* y) {
  for_rows_or_tiles(
      shape, [=](std::int64_t at) { softmax_row(x + at, shape.reduced, y + at); },
      [=](std::int64_t at, const Tile& tile) { softmax_tile(tile, x + at, y + at); });
}

void log_softmax_forward(ReduceShape shape, const float* x, float* y) {
  for_rows_or_tiles(
      shape, [=](std::int64_t at) { log_softmax_row(x + at, shape.reduced, y + at); },
      [=](std::int64_t at, const Tile& tile) { log_softmax_tile(tile, x + at, y + at); });
}

void softmax_backward(ReduceShape shape, const float* y, const float* dy, float* dx) {
  for_rows_or_tiles(
      shape, [=](std::int64_t at) { softmax_row_backward(y + at, dy + at, shape.reduced, dx + at); },
      [=](std::int64_t at, const Tile& tile) { softmax_tile_backward(tile, y + at, dy + at, dx + at); });
}

void log_softmax_backward(ReduceShape shape, const float* y, const float* dy, float* dx) {
  for_rows_or_tiles(
      shape, [=](std::int64_t at) { log_softmax_row_backward(y + at, dy + at, shape.reduced, dx + at); },
      [=](std::int64_t at, const Tile& tile) { log_softmax_tile_backward(tile, y + at, dy + at, dx + at); });
}

}  // namespace nervure::kernels::NV_ISA
