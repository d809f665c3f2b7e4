// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/extreme.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/vmath.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 32 * 1024;
constexpr std::int64_t kNarrow = 256;  // columns: fewer give too few chunks, one to every four vectors of them

/// The smallest value is the negated largest of the negated values.
template <bool kLargest>
NV_INLINE vf oriented(vf v) {
  return kLargest ? v : -v;
}

struct Found {
  float value;  // oriented
  std::int64_t index;
};

/// Whether b, which lies after a, takes its place.
NV_INLINE bool replaces(const Found& b, const Found& a) {
  return b.value > a.value || (b.value != b.value && a.value == a.value);
}

NV_INLINE Found first_nan(const float* x) {
  std::int64_t i = 0;
  while (x[i] == x[i]) ++i;
  return {x[i], i};
}

/// The largest of the lanes of kAccumulators vectors; `turn` says in which turn of the loop a lane was written. Runs
/// are shorter than 2^24, so that a float holds the number of an element.
template <int kAccumulators>
NV_INLINE Found best_of_lanes(const vf* best, const vi* turn) {
  vf peak = best[0];
#pragma GCC unroll 4
  for (int k = 1; k < kAccumulators; ++k) peak = max(peak, best[k]);
  const float value = fold_max(peak);
  vf first = broadcast(-kInfinity);  // the negated number of the first element that has the value
#pragma GCC unroll 4
  for (int k = 0; k < kAccumulators; ++k) {
    const vi number = (turn[k] * kAccumulators + k) * kLanes + lane_numbers();
    first = max(first, select(best[k] == broadcast(value), -to_float(number), broadcast(-kInfinity)));
  }
  return {value, static_cast<std::int64_t>(-fold_max(first))};
}

/// Extreme of one run of at most 2 kChunk values. Without kIndex the index is 0.
template <bool kLargest, bool kIndex, int kAccumulators>
NV_INLINE Found extreme_of(const float* x, std::int64_t n) {
  constexpr std::int64_t kStep = kAccumulators * kLanes;
  const vf lowest = broadcast(-kInfinity);
  vf best[kAccumulators];
  vi turn[kAccumulators], nan{};
#pragma GCC unroll 4
  for (int k = 0; k < kAccumulators; ++k) {
    best[k] = lowest;
    turn[k] = vi{};
  }
  const auto take = [&](int k, std::int32_t number, vf v) NV_INLINE_LAMBDA {
    nan |= is_nan(v);
    if (kIndex) {
      const vi better = v > best[k];
      turn[k] = better ? broadcast(number) : turn[k];
      best[k] = select(better, v, best[k]);
    } else {
      best[k] = max(v, best[k]);
    }
  };
  std::int64_t i = 0;
  std::int32_t number = 0;
  for (; i + kStep <= n; i += kStep, ++number)
#pragma GCC unroll 4
    for (int k = 0; k < kAccumulators; ++k) take(k, number, oriented<kLargest>(load(x + i + k * kLanes)));
#pragma GCC unroll 4
  for (int k = 0; k < kAccumulators; ++k) {
    const std::int64_t left = n - i - k * kLanes;
    if (left >= kLanes)
      take(k, number, oriented<kLargest>(load(x + i + k * kLanes)));
    else if (left > 0)
      take(k, number, first_lanes(oriented<kLargest>(load_partial(x + i + k * kLanes, left)), left, -kInfinity));
  }
  if (any(nan)) [[unlikely]]
    return first_nan(x);
  if (kIndex) return best_of_lanes<kAccumulators>(best, turn);
#pragma GCC unroll 4
  for (int k = 1; k < kAccumulators; ++k) best[0] = max(best[0], best[k]);
  return {fold_max(best[0]), 0};
}

/// The same for no more than one vector.
template <bool kLargest, bool kIndex>
NV_INLINE Found extreme_of_vector(const float* x, std::int64_t n) {
  const vf v = first_lanes(oriented<kLargest>(load_partial(x, n)), n, -kInfinity);
  if (any(is_nan(v))) [[unlikely]]
    return first_nan(x);
  const vi turn{};
  return kIndex ? best_of_lanes<1>(&v, &turn) : Found{fold_max(v), 0};
}

template <bool kLargest, bool kIndex>
Found extreme_of_long_run(const float* x, std::int64_t n) {
  return n <= 4 * kLanes ? extreme_of<kLargest, kIndex, 1>(x, n) : extreme_of<kLargest, kIndex, 4>(x, n);
}

template <bool kLargest, bool kIndex>
NV_INLINE Found extreme_of_run(const float* x, std::int64_t n) {
  return n <= kLanes ? extreme_of_vector<kLargest, kIndex>(x, n) : extreme_of_long_run<kLargest, kIndex>(x, n);
}

template <bool kLargest, bool kIndex>
NV_INLINE void put(const Found& found, float* y, std::int64_t* index, std::int64_t at) {
  if (y) y[at] = kLargest ? found.value : -found.value;
  if (kIndex) index[at] = found.index;
}

template <bool kLargest, bool kIndex>
void extreme_short_rows(std::int64_t rows, std::int64_t n, const float* x, float* y, std::int64_t* index) {
  core::parallel_for(rows, larger(1, kChunk / n), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      put<kLargest, kIndex>(extreme_of_run<kLargest, kIndex>(x + row * n, n), y, index, row);
  });
}

template <bool kLargest, bool kIndex>
void extreme_long_rows(std::int64_t rows, std::int64_t n, const float* x, float* y, std::int64_t* index) {
  const std::int64_t pieces = ceil_div(n, kChunk);
  const core::Scratch<Found> partial(static_cast<std::size_t>(rows * pieces));
  Found* const found = partial.get();
  core::parallel_chunks(rows * pieces, [&](std::int64_t task) {
    const std::int64_t first = task % pieces * kChunk;
    found[task] = extreme_of_run<kLargest, kIndex>(x + task / pieces * n + first, smaller(kChunk, n - first));
  });
  for (std::int64_t row = 0; row < rows; ++row) {
    Found best = found[row * pieces];
    for (std::int64_t p = 1; p < pieces; ++p) {
      const Found next = found[row * pieces + p];
      if (replaces(next, best)) best = {next.value, next.index + p * kChunk};
    }
    put<kLargest, kIndex>(best, y, index, row);
  }
}

template <int kVectors>
struct Vectors {};

/// kVectors vectors of columns, or `count` columns of one.
template <bool kLargest, bool kIndex, int kVectors>
NV_INLINE void extreme_columns_tile(const ReduceShape& shape, const float* x, std::int64_t count, float* y,
                                    std::int64_t* index) {
  vf best[kVectors];
  vi place[kVectors];
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) {
    best[k] = oriented<kLargest>(load_some(x + k * kLanes, count));
    place[k] = vi{};
  }
  for (std::int64_t r = 1; r < shape.reduced; ++r)
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) {
      const vf v = oriented<kLargest>(load_some(x + r * shape.inner + k * kLanes, count));
      const vi better = (v > best[k]) | (is_nan(v) & ~is_nan(best[k]));
      best[k] = select(better, v, best[k]);
      if (kIndex) place[k] = better ? broadcast(static_cast<std::int32_t>(r)) : place[k];
    }
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) {
    if (y) store_some(y + k * kLanes, oriented<kLargest>(best[k]), count);
    if (kIndex)
      for (std::int64_t lane = 0; lane < count; ++lane) index[k * kLanes + lane] = place[k][lane];
  }
}

template <bool kLargest, bool kIndex>
void extreme_columns(const ReduceShape& shape, const float* x, float* y, std::int64_t* index) {
  const std::int64_t tiles = ceil_div(shape.inner, 4 * kLanes);
  const std::int64_t grain = larger(1, kChunk / (4 * kLanes * shape.reduced));
  core::parallel_for(shape.outer * tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t o = task / tiles;
      std::int64_t column = task % tiles * 4 * kLanes;
      const std::int64_t last = smaller(shape.inner, column + 4 * kLanes);
      const auto tile = [&]<int kVectors>(Vectors<kVectors>, std::int64_t count) NV_INLINE_LAMBDA {
        const std::int64_t out = o * shape.inner + column;
        extreme_columns_tile<kLargest, kIndex, kVectors>(shape, x + o * shape.reduced * shape.inner + column, count,
                                                         y ? y + out : nullptr, index + (kIndex ? out : 0));
      };
      if (last - column == 4 * kLanes) {
        tile(Vectors<4>{}, kLanes);
        continue;
      }
      for (; column + kLanes <= last; column += kLanes) tile(Vectors<1>{}, kLanes);
      if (column < last) tile(Vectors<1>{}, last - column);
    }
  });
}

/// Few columns, many rows: extremes of pieces of rows, then of these. The first of equal values wins either way.
template <bool kLargest, bool kIndex>
void extreme_tall_columns(const ReduceShape& shape, const float* x, float* y, std::int64_t* index) {
  const std::int64_t inner = shape.inner, rows = ceil_div(kChunk, inner);
  const std::int64_t whole = shape.reduced / rows, pieces = ceil_div(shape.reduced, rows);
  const core::Scratch<float> values(static_cast<std::size_t>(pieces * inner));
  const core::Scratch<std::int64_t> places(static_cast<std::size_t>(kIndex ? pieces * inner : 1));
  float* const value = values.get();
  std::int64_t* const place = places.get();
  for (std::int64_t o = 0; o < shape.outer; ++o) {
    const float* const from = x + o * shape.reduced * inner;
    extreme_columns<kLargest, kIndex>({whole, rows, inner}, from, value, place);
    if (pieces > whole)
      extreme_columns<kLargest, kIndex>({1, shape.reduced - whole * rows, inner}, from + whole * rows * inner,
                                        value + whole * inner, place + (kIndex ? whole * inner : 0));
    const auto found = [=](std::int64_t piece, std::int64_t column) {
      const std::int64_t at = piece * inner + column;
      return Found{kLargest ? value[at] : -value[at], kIndex ? piece * rows + place[at] : 0};
    };
    for (std::int64_t column = 0; column < inner; ++column) {
      Found best = found(0, column);
      for (std::int64_t piece = 1; piece < pieces; ++piece) {
        const Found next = found(piece, column);
        if (replaces(next, best)) best = next;
      }
      put<kLargest, kIndex>(best, y, index, o * inner + column);
    }
  }
}

template <bool kLargest, bool kIndex>
void extreme(const ReduceShape& shape, const float* x, float* y, std::int64_t* index) {
  if (shape.inner == 1 && shape.reduced <= 2 * kChunk)
    extreme_short_rows<kLargest, kIndex>(shape.outer, shape.reduced, x, y, index);
  else if (shape.inner == 1)
    extreme_long_rows<kLargest, kIndex>(shape.outer, shape.reduced, x, y, index);
  else if (shape.outer * shape.inner <= kNarrow && shape.reduced * shape.inner >= 4 * kChunk)
    extreme_tall_columns<kLargest, kIndex>(shape, x, y, index);
  else
    extreme_columns<kLargest, kIndex>(shape, x, y, index);
}

}  // namespace

void reduce_extreme(ReduceShape shape, const float* x, bool largest, float* y, std::int64_t* index) {
  if (shape.outer == 0 || shape.inner == 0) return;
  if (largest)
    index ? extreme<true, true>(shape, x, y, index) : extreme<true, false>(shape, x, y, index);
  else
    index ? extreme<false, true>(shape, x, y, index) : extreme<false, false>(shape, x, y, index);
}

void reduce_index_backward(ReduceShape shape, const float* dy, const std::int64_t* index, float* dx) {
  const std::int64_t size = shape.reduced * shape.inner;
  core::parallel_for(shape.outer, larger(1, kChunk / larger(1, size)), [&](std::int64_t begin, std::int64_t end) {
    std::memset(dx + begin * size, 0, sizeof(float) * static_cast<std::size_t>((end - begin) * size));
    for (std::int64_t o = begin; o < end; ++o)
      for (std::int64_t i = 0; i < shape.inner; ++i) {
        const std::int64_t at = index[o * shape.inner + i];
        if (at >= 0 && at < shape.reduced) dx[o * size + at * shape.inner + i] = dy[o * shape.inner + i];
      }
  });
}

}  // namespace nervure::kernels::NV_ISA
