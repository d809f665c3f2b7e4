// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/reduce.h"

#include "core/vmath.h"
#include "kernels/pairwise.h"

namespace nervure::kernels::NV_ISA {
namespace {

#define NV_INLINE_MEMBER [[gnu::always_inline]] inline

// A reduction is finish(Σ map(x, stat), stat), where stat (outer, inner) is known beforehand.

struct Sum {
  static constexpr bool kHasStat = false;
  float divisor;
  NV_INLINE_MEMBER vf map(vf x, vf) const { return x; }
  NV_INLINE_MEMBER vf finish(vf total, vf) const { return total / broadcast(divisor); }
};

struct SquaredDeviation {
  static constexpr bool kHasStat = true;
  float divisor;
  NV_INLINE_MEMBER vf map(vf x, vf mean) const { return (x - mean) * (x - mean); }
  NV_INLINE_MEMBER vf finish(vf total, vf) const { return total / broadcast(divisor); }
};

struct LogSumExp {
  static constexpr bool kHasStat = true;
  NV_INLINE vf offset(vf max) { return select(abs(max) == broadcast(kInfinity), vf{}, max); }
  NV_INLINE_MEMBER vf map(vf x, vf max) const { return exp(x - offset(max)); }
  NV_INLINE_MEMBER vf finish(vf total, vf max) const { return log(total) + offset(max); }
};

struct CountEqual {
  static constexpr bool kHasStat = true;
  NV_INLINE_MEMBER vf map(vf x, vf value) const { return select(x == value, broadcast(1.0f), vf{}); }
  NV_INLINE_MEMBER vf finish(vf total, vf) const { return total; }
};

/// y = finish(total, stat) for n elements; total may be y.
template <class Op>
NV_INLINE void finish_all(const Op& op, const float* total, const float* stat, std::int64_t n, float* y) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf s = Op::kHasStat ? load_some(stat + i, count) : vf{};
    store_some(y + i, op.finish(load_some(total + i, count), s), count);
  });
}

// ---- along rows -------------------------------------------------------------------------------------------------

template <class Op>
float row_piece(const Op& op, const float* x, const float* stat, std::int64_t n) {
  const vf s = Op::kHasStat ? broadcast(*stat) : vf{};
  if (n <= kLanes) return fold_sum(first_lanes(op.map(load_partial(x, n), s), n, 0.0f));
  return fold_sum(tree_sum(
      0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA { return op.map(load_some(x + i, count), s); }));
}

template <class Op>
void reduce_short_rows(const Op& op, std::int64_t rows, std::int64_t n, const float* x, const float* stat, float* y) {
  core::parallel_for(rows, larger(1, kSumChunk / larger(n, 1)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) y[row] = row_piece(op, x + row * n, stat + row, n);
    finish_all(op, y + begin, stat + begin, end - begin, y + begin);
  });
}

template <class Op>
void reduce_long_rows(const Op& op, std::int64_t rows, std::int64_t n, const float* x, const float* stat, float* y) {
  const std::int64_t pieces = ceil_div(n, kSumChunk);
  const core::Scratch<float> partial(static_cast<std::size_t>(rows * pieces));
  float* const totals = partial.get();
  core::parallel_chunks(rows * pieces, [&](std::int64_t task) {
    const std::int64_t row = task / pieces, begin = task % pieces * kSumChunk;
    totals[task] = row_piece(op, x + row * n + begin, stat + row, smaller(kSumChunk, n - begin));
  });
  for (std::int64_t row = 0; row < rows; ++row) y[row] = tree_sum(totals + row * pieces, pieces);
  finish_all(op, y, stat, rows, y);
}

// ---- down columns -------------------------------------------------------------------------------------------------

constexpr std::int64_t kTileWidth = 2048;  // running sums of one task: 8 KiB of L1
constexpr std::int64_t kFoldWidth = 128;   // narrower matrices are folded

/// How (reduced, inner) is cut. A narrow matrix is read as one of `fold` times fewer and wider rows; what does not fill
/// the last of them is `leftover`.
struct ColumnPlan {
  std::int64_t fold = 1, width, rows, leftover, tile, tiles, piece, pieces;

  inline explicit ColumnPlan(const ReduceShape& shape) {
    while (fold * shape.inner < kFoldWidth && 2 * fold <= shape.reduced) fold *= 2;
    width = fold * shape.inner;
    rows = shape.reduced / fold;
    leftover = shape.reduced % fold * shape.inner;
    tile = smaller(width, kTileWidth);
    tiles = ceil_div(width, tile);
    piece = smaller(1024, larger(64, 2 * kSumChunk / tile));
    pieces = larger(1, ceil_div(rows, piece));
  }
};

/// total[c] += the sum of kRows rows.
template <int kRows, class Op>
NV_INLINE void add_rows(const Op& op, const float* x, std::int64_t stride, const float* stat, std::int64_t width,
                        float* total) {
  for_vectors(0, width, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    const vf s = Op::kHasStat ? load_some(stat + c, count) : vf{};
    vf v[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) v[r] = op.map(load_some(x + r * stride + c, count), s);
#pragma GCC unroll 3
    for (int half = kRows / 2; half > 0; half /= 2)
#pragma GCC unroll 4
      for (int r = 0; r < half; ++r) v[r] += v[r + half];
    store_some(total + c, load_some(total + c, count) + v[0], count);
  });
}

template <class Op>
void sum_tile(const Op& op, const float* x, std::int64_t stride, const float* stat, std::int64_t rows,
              std::int64_t width, float* total) {
  std::memset(total, 0, sizeof(float) * static_cast<std::size_t>(width));
  std::int64_t r = 0;
  for (; r + 8 <= rows; r += 8) add_rows<8>(op, x + r * stride, stride, stat, width, total);
  for (; r < rows; ++r) add_rows<1>(op, x + r * stride, stride, stat, width, total);
}

NV_INLINE void add_into(float* a, const float* b, std::int64_t n) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(a + i, load_some(a + i, count) + load_some(b + i, count), count);
  });
}

/// Add the `pieces` rows of `total` (row stride `width`, n columns of them) into the first, as a tree.
NV_INLINE void add_pieces(float* total, std::int64_t width, std::int64_t pieces, std::int64_t n) {
  for (std::int64_t half = 1; half < pieces; half *= 2)
    for (std::int64_t p = 0; p + half < pieces; p += 2 * half)
      add_into(total + p * width, total + (p + half) * width, n);
}

/// One row of `stat` repeated `fold` times, for every outer index.
void repeat_stat(const ReduceShape& shape, std::int64_t fold, const float* stat, float* repeated) {
  for (std::int64_t o = 0; o < shape.outer; ++o)
    for (std::int64_t k = 0; k < fold; ++k, repeated += shape.inner)
      std::memcpy(repeated, stat + o * shape.inner, sizeof(float) * static_cast<std::size_t>(shape.inner));
}

template <class Op>
void sum_column_pieces(const Op& op, const ReduceShape& shape, const ColumnPlan& plan, const float* x,
                       const float* stat, float* totals) {
  const std::int64_t tasks = shape.outer * plan.pieces * plan.tiles;
  const std::int64_t task_size = plan.tile * smaller(plan.piece, plan.rows);
  core::parallel_for(tasks, larger(1, kSumChunk / task_size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t column = task % plan.tiles * plan.tile, piece = task / plan.tiles % plan.pieces;
      const std::int64_t o = task / plan.tiles / plan.pieces, row = piece * plan.piece;
      const float* const x_outer = x + o * shape.reduced * shape.inner;
      const float* const tile_stat = stat + (Op::kHasStat ? o * plan.width + column : 0);
      float* const total = totals + (o * plan.pieces + piece) * plan.width + column;
      sum_tile(op, x_outer + row * plan.width + column, plan.width, tile_stat, smaller(plan.piece, plan.rows - row),
               smaller(plan.tile, plan.width - column), total);
      // A folded matrix has one tile.
      if (plan.leftover > 0 && piece == plan.pieces - 1)
        add_rows<1>(op, x_outer + plan.rows * plan.width, 0, tile_stat, plan.leftover, total);
    }
  });
}

template <class Op>
void reduce_columns(const Op& op, const ReduceShape& shape, const float* x, const float* stat, float* y) {
  const ColumnPlan plan(shape);
  const core::Scratch<float> partial(static_cast<std::size_t>(shape.outer * plan.pieces * plan.width));
  const bool repeat = Op::kHasStat && plan.fold > 1;
  const core::Scratch<float> repeated(static_cast<std::size_t>(repeat ? shape.outer * plan.width : 1));
  if (repeat) repeat_stat(shape, plan.fold, stat, repeated.get());
  float* const totals = partial.get();
  sum_column_pieces(op, shape, plan, x, repeat ? repeated.get() : stat, totals);

  const std::int64_t grain = larger(1, kSumChunk / (plan.pieces * plan.tile));
  core::parallel_for(shape.outer * plan.tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t o = task / plan.tiles, column = task % plan.tiles * plan.tile;
      float* const total = totals + o * plan.pieces * plan.width + column;
      std::int64_t n = smaller(plan.tile, plan.width - column);
      add_pieces(total, plan.width, plan.pieces, n);
      for (std::int64_t half = plan.fold / 2; half > 0; half /= 2) {
        n = half * shape.inner;
        add_into(total, total + n, n);
      }
      const std::int64_t out = o * shape.inner + column;
      finish_all(op, total, stat + (Op::kHasStat ? out : 0), n, y + out);
    }
  });
}

template <class Op>
void reduce(const Op& op, const ReduceShape& shape, const float* x, const float* stat, float* y) {
  if (shape.outer == 0 || shape.inner == 0) return;
  if (shape.inner > 1 && shape.reduced > 0)
    reduce_columns(op, shape, x, stat, y);
  else if (shape.reduced > 2 * kSumChunk)
    reduce_long_rows(op, shape.outer, shape.reduced, x, stat, y);
  else
    reduce_short_rows(op, shape.outer * shape.inner, shape.reduced, x, stat, y);
}

// ---- backward ----------------------------------------------------------------------------------------------------

/// dx = op(x, a, b, c) with a, b, c (outer, inner) broadcast over the reduced axis; null arrays are read as 0.
template <class Op>
NV_INLINE void expand_piece(const Op& op, bool along_row, const float* x, const float* a, const float* b,
                            const float* c, std::int64_t n, float* dx) {
  const vf first_a = along_row ? broadcast(*a) : vf{};
  const vf first_b = along_row && b ? broadcast(*b) : vf{};
  const vf first_c = along_row && c ? broadcast(*c) : vf{};
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf va = along_row ? first_a : load_some(a + i, count);
    const vf vb = along_row || !b ? first_b : load_some(b + i, count);
    const vf vc = along_row || !c ? first_c : load_some(c + i, count);
    store_some(dx + i, op(x ? load_some(x + i, count) : vf{}, va, vb, vc), count);
  });
}

template <class Op>
void expand(const ReduceShape& shape, const float* x, const float* a, const float* b, const float* c, float* dx,
            const Op& op) {
  const bool along_row = shape.inner == 1;
  const std::int64_t rows = along_row ? shape.outer : shape.outer * shape.reduced;
  const std::int64_t n = along_row ? shape.reduced : shape.inner;
  if (n == 0) return;
  const std::int64_t piece = smaller(n, kSumChunk), pieces = ceil_div(n, piece);
  core::parallel_for(rows * pieces, kSumChunk / piece, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t row = task / pieces, first = task % pieces * piece, at = row * n + first;
      const std::int64_t stat = along_row ? row : row / shape.reduced * n + first;
      const float* const vb = b ? b + stat : nullptr;
      const float* const vc = c ? c + stat : nullptr;
      const std::int64_t count = smaller(piece, n - first);
      if (along_row)
        expand_piece(op, true, x ? x + at : nullptr, a + stat, vb, vc, count, dx + at);
      else
        expand_piece(op, false, x ? x + at : nullptr, a + stat, vb, vc, count, dx + at);
    }
  });
}

}  // namespace

void reduce_sum(ReduceShape shape, const float* x, float divisor, float* y) {
  reduce(Sum{divisor}, shape, x, nullptr, y);
}

void reduce_squared_deviation(ReduceShape shape, const float* x, const float* mean, float divisor, float* y) {
  reduce(SquaredDeviation{divisor}, shape, x, mean, y);
}

void reduce_logsumexp(ReduceShape shape, const float* x, const float* max, float* y) {
  reduce(LogSumExp{}, shape, x, max, y);
}

void reduce_count_equal(ReduceShape shape, const float* x, const float* value, float* y) {
  reduce(CountEqual{}, shape, x, value, y);
}

void sum_all(const float* x, std::int64_t n, const float* divisor, float* y) {
  reduce(Sum{divisor ? *divisor : 1.0f}, {1, n, 1}, x, nullptr, y);
}

void reduce_sum_backward(ReduceShape shape, const float* dy, float divisor, float* dx) {
  const vf d = broadcast(divisor);
  expand(shape, nullptr, dy, nullptr, nullptr, dx, [=](vf, vf g, vf, vf) NV_INLINE_LAMBDA { return g / d; });
}

void reduce_var_backward(ReduceShape shape, const float* x, const float* mean, const float* dy, float scale,
                         float* dx) {
  const vf s = broadcast(scale);
  expand(shape, x, mean, dy, nullptr, dx, [=](vf v, vf m, vf g, vf) NV_INLINE_LAMBDA { return g * s * (v - m); });
}

void reduce_logsumexp_backward(ReduceShape shape, const float* x, const float* y, const float* dy, float* dx) {
  const vf lowest = broadcast(-kInfinity);
  expand(shape, x, y, dy, nullptr, dx,
         [=](vf v, vf total, vf g, vf) NV_INLINE_LAMBDA { return select(total == lowest, vf{}, g * exp(v - total)); });
}

void reduce_extreme_backward(ReduceShape shape, const float* x, const float* y, const float* count, const float* dy,
                             float* dx) {
  const vf one = broadcast(1.0f);
  expand(shape, x, y, dy, count, dx,
         [=](vf v, vf extreme, vf g, vf n) NV_INLINE_LAMBDA { return g * select(v == extreme, one, vf{}) / n; });
}

}  // namespace nervure::kernels::NV_ISA
