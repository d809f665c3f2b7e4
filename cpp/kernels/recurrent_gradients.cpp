// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_gradients.h"

#include <cstring>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/even_step.h"
#include "kernels/gemm.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"
#include "kernels/recurrent_factor.h"

namespace nervure::kernels::NV_ISA {

namespace {

// Wider matrices are left to the general product.
constexpr std::int64_t kNarrow = 256;
constexpr std::int64_t kDepth = 128;            // rows of the gradients that are packed at a time
constexpr std::int64_t kColumns = 288;          // to a chunk: what is packed of them stays in the second-level cache
constexpr std::int64_t kGroup = 8 * kTileRows;  // columns of a left factor that are packed at a time
// Of a packed tile of the left factor: at a distance that is no power of two.
constexpr std::int64_t kLeft = kDepth * kTileRows + 16;
constexpr int kPanelVectors = kTileVectors - 1;
constexpr std::int64_t kPanel = kPanelVectors * kLanes;
constexpr std::int64_t kFewPanels = 3;    // stay in the first-level cache one after the other
constexpr std::int64_t kLine = 16;        // floats of a cache line
constexpr std::int64_t kChunk = 200'000;  // multiplications

/// Some columns of some rows, all that is read of a matrix at a time.
struct Piece {
  const float* from;
  std::int64_t stride, rows, columns;
};

/// Tile by tile, kLeft floats each.
void pack_left(const Piece& piece, float* packed) {
  const std::int64_t whole = piece.columns / kTileRows * kTileRows;
  const float* a = piece.from;
  for (std::int64_t p = 0; p < piece.rows; ++p, a += piece.stride) {
    float* to = packed + p * kTileRows;
    for (std::int64_t i = 0; i < whole; i += kTileRows, to += kLeft) std::memcpy(to, a + i, kTileRows * sizeof(float));
    for (std::int64_t i = whole; i < piece.columns; ++i) to[i - whole] = a[i];
  }
}

/// Panels of kPanelVectors, then of one less: a last one of what is left would have too few sums to hide their latency.
struct PanelCut {
  std::int64_t columns, count, wide;
  int narrow;

  explicit PanelCut(std::int64_t all_columns) : columns(all_columns) {
    const std::int64_t vectors = ceil_div(columns, kLanes);
    count = ceil_div(vectors, kPanelVectors);
    wide = larger(vectors - count * (kPanelVectors - 1), 0);
    narrow = static_cast<int>(smaller(vectors, kPanelVectors - 1));
  }
  int vectors_of(std::int64_t panel) const { return panel < wide ? kPanelVectors : narrow; }
  std::int64_t column_of(std::int64_t panel) const {
    return (panel < wide ? panel * kPanelVectors : wide * kPanelVectors + (panel - wide) * narrow) * kLanes;
  }
  std::int64_t width_of(std::int64_t panel) const {
    return smaller(vectors_of(panel) * kLanes, columns - column_of(panel));
  }
  void pack(const GateGradients& d, std::int64_t row, std::int64_t rows, float* packed) const {
    const float* const from = d.data + row * d.stride;
    const std::int64_t split = smaller(wide * kPanel, columns);
    if (wide > 0) pack_b(from, d.stride, false, rows, split, kPanelVectors, packed, rows);
    if (wide < count) pack_b(from + split, d.stride, false, rows, columns - split, narrow, packed + split * rows, rows);
  }
};

/// sums[k] (+)= the sums of one packed panel.
void sum_panel(const float* packed, std::int64_t stride, std::int64_t rows, std::int64_t columns, bool accumulate,
               float* sums) {
  for_vectors(0, columns, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    vf total[4] = {};
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) total[k] += load(packed + (r + k) * stride + u);
    for (; r < rows; ++r) total[0] += load(packed + r * stride + u);
    const vf sum = (total[0] + total[1]) + (total[2] + total[3]);
    store_some(sums + u, accumulate ? load_some(sums + u, n) + sum : sum, n);
  });
}

/// What the tiles bring meanwhile, each an equal share of a piece: packed later, it would be waited for.
class Fetcher {
 public:
  void aim(const Piece& piece, std::int64_t tiles, std::int64_t steps) {
    const std::int64_t lines = ceil_div(piece.columns, kLine), share = ceil_div(piece.rows, larger(tiles, 1));
    from_ = piece.from;
    step_ = share * piece.stride;
    std::int64_t row = 0, line = 0, due = 0;
    for (std::int64_t p = 0; p < steps; ++p) {
      offsets_[p] = static_cast<std::int32_t>(row * piece.stride + line * kLine);
      for (due += share * lines; due >= steps; due -= steps)
        if (++line == lines) {
          line = 0;
          ++row;
        }
    }
  }
  void aim_next(TileOutput& out) {
    out.ahead = from_;
    out.offsets = offsets_;
    from_ += step_;
  }

 private:
  const float* from_ = nullptr;
  std::int64_t step_ = 0;
  std::int32_t offsets_[kDepth];
};

/// Columns of a left factor, and where the product goes.
struct LeftColumns {
  const float* a;
  std::int64_t stride, columns;
  float* dw;
};

Piece piece_of(const LeftColumns& left, std::int64_t row, std::int64_t rows, std::int64_t column) {
  return {left.a + row * left.stride + column, left.stride, rows, smaller(kGroup, left.columns - column)};
}

/// Some columns of dw, block of rows by block of rows: what is packed of d stays in the second-level cache while the
/// left factors pass by, a few columns at a time.
class WeightBlock {
 public:
  WeightBlock(const GateGradients& d, float* sums, std::int64_t dw_stride)
      : d_(d),
        sums_(sums),
        dw_stride_(dw_stride),
        panels_(d.columns),
        packed_(static_cast<std::size_t>(kDepth * ceil_div(d.columns, kLanes) * kLanes)),
        left_(static_cast<std::size_t>(kLeft * (kGroup / kTileRows))) {}

  void add(const LeftColumns& left) {
    if (left.columns > 0) factors_[count_++] = left;
  }

  void run() {
    std::int64_t row = 0;
    do {  // once even without rows: the sums are 0 then
      const std::int64_t rows = smaller(kDepth, d_.rows - row), next = row + rows;
      panels_.pack(d_, row, rows, packed_.get());
      for (int i = 0; i < count_; ++i) {
        const Piece after =
            i + 1 < count_ ? piece_of(factors_[i + 1], row, rows, 0)
                           : Piece{d_.data + next * d_.stride, d_.stride, smaller(kDepth, d_.rows - next), d_.columns};
        multiply(factors_[i], row, rows, after);
      }
      for (std::int64_t i = 0; sums_ && i < panels_.count; ++i)
        sum_panel(packed_.get() + panels_.column_of(i) * rows, panels_.vectors_of(i) * kLanes, rows,
                  panels_.width_of(i), row > 0, sums_ + panels_.column_of(i));
      row = next;
    } while (row < d_.rows);
  }

 private:
  /// Few panels do not pay for a copy of the left factor, unless its rows push each other out of the cache.
  bool in_place(const LeftColumns& left) const { return panels_.count <= kFewPanels && left.stride % 128 != 0; }

  void multiply(const LeftColumns& left, std::int64_t row, std::int64_t rows, const Piece& after) {
    if (in_place(left)) return multiply_in_place(left, row, rows);
    for (std::int64_t i = 0; i < left.columns; i += kGroup) {
      const Piece piece = piece_of(left, row, rows, i);
      pack_left(piece, left_.get());
      fetcher_.aim(i + kGroup < left.columns ? piece_of(left, row, rows, i + kGroup) : after,
                   ceil_div(piece.columns, kTileRows) * panels_.wide, rows);
      for (std::int64_t t = 0; t * kTileRows < piece.columns; ++t)
        under_panels(left_.get() + t * kLeft, static_cast<int>(smaller(kTileRows, piece.columns - t * kTileRows)), rows,
                     left.dw + (i + t * kTileRows) * dw_stride_, row > 0);
    }
  }

  /// Panel by panel, which then stays in the first-level cache.
  void multiply_in_place(const LeftColumns& left, std::int64_t row, std::int64_t rows) const {
    for (std::int64_t i = 0; i < panels_.count; ++i) {
      const int vectors = panels_.vectors_of(i);
      const std::int64_t column = panels_.column_of(i), behind = panels_.width_of(i) - (vectors - 1) * kLanes;
      const RowTiles tiles = cut_rows(left.columns, max_tile_rows(vectors));
      const float* a = left.a + row * left.stride;
      TileOutput out{left.dw + column, dw_stride_, behind, nullptr, nullptr, row > 0, false};
      for (std::int64_t t = 0; t < tiles.count; ++t) {
        const int height = tiles.height + (t < tiles.taller);
        tile_function(TileA::columns, height, vectors, behind < kLanes)(a, left.stride, packed_.get() + column * rows,
                                                                        vectors * kLanes, rows, out);
        a += height;
        out.c += height * dw_stride_;
      }
    }
  }

  void under_panels(const float* a, int height, std::int64_t rows, float* dw, bool accumulate) {
    for (std::int64_t i = 0; i < panels_.count; ++i) {
      const int vectors = panels_.vectors_of(i);
      const std::int64_t column = panels_.column_of(i), columns = panels_.width_of(i);
      const std::int64_t behind = columns - (vectors - 1) * kLanes;
      TileOutput out{dw + column, dw_stride_, behind, nullptr, nullptr, accumulate, false};
      TileFunction tile = behind == kLanes ? fetching_tile(TileA::columns, height, vectors) : nullptr;
      if (tile)
        fetcher_.aim_next(out);
      else
        tile = tile_function(TileA::columns, height, vectors, behind < kLanes);
      prefetch_tile(out.c, dw_stride_, height, columns);
      tile(a, kTileRows, packed_.get() + column * rows, vectors * kLanes, rows, out);
    }
  }

  const GateGradients d_;
  float* const sums_;
  const std::int64_t dw_stride_;
  const PanelCut panels_;
  const core::Scratch<float> packed_, left_;
  LeftColumns factors_[2];
  int count_ = 0;
  Fetcher fetcher_;
};

/// Wide factors are left to the general product, and gone afterwards; the width of the others.
std::int64_t keep_narrow(WeightProduct& product, std::int64_t dw_stride) {
  const GateGradients& d = product.d;
  std::int64_t width = 0;
  for (LeftFactor& factor : product.factors) {
    if (factor.dw && factor.width > kNarrow)
      gemm({factor.width, d.columns, d.rows, factor.a, factor.width, true, d.data, d.stride, false, factor.dw,
            dw_stride});
    if (factor.width == 0 || factor.width > kNarrow) factor.dw = nullptr;
    if (factor.dw) width += factor.width;
  }
  return width;
}

/// Into pieces of columns, or of each factor's columns where those are many: what is packed twice is then little.
struct WeightCut {
  std::int64_t columns = 0, pieces = 0, parts = 1;
  std::int64_t chunks() const { return pieces * parts; }
};

WeightCut cut_weights(const GateGradients& d, std::int64_t width, bool alone) {
  constexpr std::int64_t kMany = 128;
  WeightCut cut;
  const std::int64_t fewest = ceil_div(d.columns, kColumns);
  const bool halves = alone && fewest == 1 && d.rows * width * d.columns >= 2 * kChunk;
  if (halves && width > kMany) cut.parts = 2;
  cut.columns = halves && width <= kMany ? even_step(d.columns, 2, kPanel) : even_step(d.columns, fewest, kLanes);
  cut.pieces = ceil_div(d.columns, cut.columns);
  return cut;
}

void multiply_weights(const WeightProduct& product, std::int64_t dw_stride, const WeightCut& cut, std::int64_t chunk) {
  const std::int64_t part = chunk % cut.parts, first = chunk / cut.parts * cut.columns;
  const GateGradients& d = product.d;
  WeightBlock block({d.data + first, d.rows, smaller(cut.columns, d.columns - first), d.stride},
                    product.sums && part == 0 ? product.sums + first : nullptr, dw_stride);
  for (const LeftFactor& factor : product.factors) {
    if (!factor.dw) continue;
    const std::int64_t step = even_step(factor.width, cut.parts, kTileRows), from = part * step;
    block.add(
        {factor.a + from, factor.width, smaller(step, factor.width - from), factor.dw + from * dw_stride + first});
  }
  block.run();
}

}  // namespace

void weight_gradients(const WeightProduct* products, int count, std::int64_t dw_stride) {
  WeightProduct narrow[2];
  WeightCut cuts[2];
  for (int i = 0; i < count; ++i) {
    narrow[i] = products[i];
    const std::int64_t width = keep_narrow(narrow[i], dw_stride);
    if (width > 0)
      cuts[i] = cut_weights(narrow[i].d, width, count == 1);
    else if (products[i].sums)
      column_sums(narrow[i].d, products[i].sums);
  }
  core::parallel_chunks(cuts[0].chunks() + cuts[1].chunks(), [&](std::int64_t chunk) {
    const int i = chunk >= cuts[0].chunks();
    multiply_weights(narrow[i], dw_stride, cuts[i], chunk - (i ? cuts[0].chunks() : 0));
  });
}

void weight_gradients(const LeftFactor (&factors)[2], std::int64_t dw_stride, const GateGradients& d, float* sums) {
  const WeightProduct product{{factors[0], factors[1]}, d, sums};
  weight_gradients(&product, 1, dw_stride);
}

void weight_gradient(const LeftFactor& factor, std::int64_t dw_stride, const GateGradients& d, float* sums) {
  weight_gradients({factor, {nullptr, 0, nullptr}}, dw_stride, d, sums);
}

void input_gradient(const GateGradients& d, const float* w, std::int64_t w_stride, std::int64_t width, bool add,
                    float* dx) {
  if (width > kNarrow) {
    Gemm product{d.rows, width, d.columns, d.data, d.stride, false, w, w_stride, true, dx, width};
    product.accumulate = add;
    return gemm(product);
  }
  Factor factor(w, w_stride, true, d.columns, 1, width, d.rows);
  const core::Scratch<float> packed(static_cast<std::size_t>(factor.packed_floats()));
  factor.pack(packed.get());
  factor.multiply_all(d.data, d.stride, d.rows, dx, width, add, nullptr);
}

}  // namespace nervure::kernels::NV_ISA
