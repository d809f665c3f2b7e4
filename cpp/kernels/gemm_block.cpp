// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_block.h"

#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_pack.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// 64-bit division costs 40 to 90 cycles on many processors, as much as a small tile.
NV_INLINE std::int64_t divide(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
  return a / b;
}

constexpr int kNarrow = kTileVectors - 1;

// A strip: `count` panels of the same width that begin at `column`.
struct Strip {
  int vectors;
  std::int64_t count, column;
};

// A row-major or transposed operand from element (row, p) on.
NV_INLINE const float* a_at(const Gemm& g, std::int64_t row, std::int64_t p) {
  return g.a + (g.a_transposed ? p * g.lda + row : row * g.lda + p);
}
NV_INLINE const float* b_at(const Gemm& g, std::int64_t p, std::int64_t column) {
  return g.b + (g.b_transposed ? column * g.ldb + p : p * g.ldb + column);
}

class StripLoop {
 public:
  StripLoop(const Pass& pass, const Strip& strip)
      : pass_(pass), strip_(strip), g_(*pass.product), width_(static_cast<std::int64_t>(strip.vectors) * kLanes) {
    K_ = pass.depth.size();
    const std::int64_t columns = pass.columns.end - strip.column;
    const std::int64_t behind = columns - (strip.count - 1) * width_;  // of the last panel
    last_width_ = behind < width_ ? behind : width_;
    layout_ = g_.a_transposed && !pass.packed_a ? TileA::columns : TileA::rows;
    a_stride_ = pass.packed_a ? pass.packed_a_stride : g_.lda;
    b_ = pass.packed_b ? pass.packed_b : b_at(g_, pass.depth.begin, strip.column);
    b_stride_ = pass.packed_b ? width_ : g_.ldb;
    b_step_ = pass.packed_b ? width_ * K_ : width_;
    tiles_ = cut_rows(pass.rows.size(), max_tile_rows(strip.vectors));
  }

  void run(bool panels_outside) {
    if (panels_outside) {
      for (std::int64_t panel = 0; panel < strip_.count; ++panel) panel_under_rows(panel);
    } else {
      std::int64_t row = pass_.rows.begin;
      for (std::int64_t t = 0; t < tiles_.count; ++t) {
        const int height = tiles_.height + (t < tiles_.taller);
        row_under_panels(row, height);
        row += height;
      }
    }
  }

 private:
  void panel_under_rows(std::int64_t panel) {
    const bool masked = panel == strip_.count - 1 && last_width_ < width_;
    const TileFunction low = tiles_.height ? tile_function(layout_, tiles_.height, strip_.vectors, masked) : nullptr;
    const TileFunction tall = tiles_.taller ? tile_function(layout_, tiles_.height + 1, strip_.vectors, masked) : low;
    std::int64_t row = pass_.rows.begin;
    for (std::int64_t t = 0; t < tiles_.count; ++t) {
      const bool taller = t < tiles_.taller;
      const TileOutput out = output(row, panel);
      (taller ? tall : low)(a_row(row), a_stride_, b_ + panel * b_step_, b_stride_, K_, out);
      finish(out, tiles_.height + taller, panel);
      row += tiles_.height + taller;
    }
  }

  void row_under_panels(std::int64_t row, int height) {
    const float* const a = a_row(row);
    const TileFunction whole = tile_function(layout_, height, strip_.vectors, false);
    for (std::int64_t panel = 0; panel < strip_.count; ++panel) {
      const bool masked = panel == strip_.count - 1 && last_width_ < width_;
      const TileFunction tile = masked ? tile_function(layout_, height, strip_.vectors, true) : whole;
      const TileOutput out = output(row, panel);
      tile(a, a_stride_, b_ + panel * b_step_, b_stride_, K_, out);
      finish(out, height, panel);
    }
  }

  const float* a_row(std::int64_t row) const {
    return pass_.packed_a ? pass_.packed_a + (row - pass_.rows.begin) * a_stride_ : a_at(g_, row, pass_.depth.begin);
  }

  TileOutput output(std::int64_t row, std::int64_t panel) const {
    const std::int64_t column = strip_.column + panel * width_;
    const bool relu = g_.activation == Activation::relu;
    return {g_.c + row * g_.ldc + column,
            g_.ldc,
            last_width_ - width_ + kLanes,
            pass_.last && g_.column_bias ? g_.column_bias + column : nullptr,
            pass_.last && g_.row_bias ? g_.row_bias + row : nullptr,
            !pass_.first || g_.accumulate,
            pass_.last && relu};
  }

  // The tile still lies in the first-level cache.
  void finish(const TileOutput& out, int height, std::int64_t panel) const {
    if (!pass_.last || g_.activation == Activation::none || g_.activation == Activation::relu) return;
    activate_rows(g_.activation, height, panel == strip_.count - 1 ? last_width_ : width_, out.c, out.ldc);
  }

  const Pass& pass_;
  const Strip& strip_;
  const Gemm& g_;
  std::int64_t width_, last_width_, K_, a_stride_, b_stride_, b_step_;
  const float* b_;
  TileA layout_;
  RowTiles tiles_;
};

// Panels packed one at a time and used at once.
void pack_as_you_go(Pass pass, const Panels& panels, float* packed) {
  std::int64_t column = pass.columns.begin;
  for (int s = 0; s < 2; ++s) {
    const std::int64_t width = static_cast<std::int64_t>(panels.vectors[s]) * kLanes;
    for (std::int64_t i = 0; i < panels.count[s]; ++i, column += width) {
      Pass part = pass;
      part.columns = {column, column + width < pass.columns.end ? column + width : pass.columns.end};
      const Panels one{{panels.vectors[s], 0}, {1, 0}};
      pack_panels(*pass.product, pass.depth, part.columns, one, packed);
      part.packed_b = packed;
      run_pass(part, one, true);
    }
  }
}

template <class Body>
NV_INLINE void over_depth(const Gemm& product, const Blocking& blocking, Range rows, Range columns, const Body& body) {
  Pass pass{&product, rows, columns, {0, 0}, nullptr, nullptr, 0, true, false};
  do {  // once even if K is 0: bias and activation are still due
    const std::int64_t p = pass.depth.end;
    pass.depth = {p, p + blocking.depth < product.K ? p + blocking.depth : product.K};
    pass.first = p == 0;
    pass.last = pass.depth.end == product.K;
    body(pass);
  } while (!pass.last);
}

}  // namespace

RowTiles cut_rows(std::int64_t rows, int most) {
  const std::int64_t count = most == kTileRows ? (rows + kTileRows - 1) / kTileRows : divide(rows + most - 1, most);
  const std::int64_t height = divide(rows, count);
  return {count, rows - height * count, static_cast<int>(height)};
}

Panels cut_panels(std::int64_t columns) {
  const std::int64_t vectors = (columns + kLanes - 1) / kLanes;
  const std::int64_t narrow = vectors / kNarrow;
  const std::int64_t left = vectors - narrow * kNarrow;
  if (left <= narrow) return {{kNarrow, kTileVectors}, {narrow - left, left}};
  return {{kNarrow, static_cast<int>(left)}, {narrow, 1}};
}

Panels cut_narrow_panels(std::int64_t columns) {
  const std::int64_t vectors = (columns + kLanes - 1) / kLanes;
  const std::int64_t narrow = vectors / kNarrow;
  const std::int64_t left = vectors - narrow * kNarrow;
  return {{kNarrow, static_cast<int>(left)}, {narrow, left > 0}};
}

void pack_panels(const Gemm& g, Range depth, Range columns, const Panels& panels, float* packed) {
  std::int64_t column = columns.begin;
  for (int s = 0; s < 2; ++s) {
    const std::int64_t all = panels.count[s] * panels.vectors[s] * kLanes;
    const std::int64_t left = columns.end - column;
    if (all > 0)
      pack_b(b_at(g, depth.begin, column), g.ldb, g.b_transposed, depth.size(), all < left ? all : left,
             panels.vectors[s], packed, depth.size());
    column += all;
    packed += all * depth.size();
  }
}

void run_pass(const Pass& pass, const Panels& panels, bool panels_outside) {
  std::int64_t column = pass.columns.begin;
  Pass part = pass;
  for (int s = 0; s < 2; ++s) {
    if (!panels.count[s]) continue;
    const Strip strip{panels.vectors[s], panels.count[s], column};
    StripLoop(part, strip).run(panels_outside);
    const std::int64_t width = panels.count[s] * panels.vectors[s] * kLanes;
    column += width;
    if (part.packed_b) part.packed_b += width * pass.depth.size();
  }
}

void multiply_block(const Gemm& product, const Blocking& blocking, Range rows, Range columns) {
  const Panels panels = cut_panels(columns.size());
  if (!blocking.pack_b)
    return over_depth(product, blocking, rows, columns,
                      [&](const Pass& pass) { run_pass(pass, panels, blocking.panels_outside); });
  const std::int64_t padded = (columns.size() + kLanes - 1) / kLanes * kLanes;
  const std::int64_t width = blocking.panels_outside ? kTileVectors * kLanes : padded;
  const core::Scratch<float> scratch(static_cast<std::size_t>(width * blocking.depth));
  float* const packed = scratch.get();
  over_depth(product, blocking, rows, columns, [&](Pass pass) {
    if (blocking.panels_outside) return pack_as_you_go(pass, panels, packed);
    pack_panels(product, pass.depth, columns, panels, packed);
    pass.packed_b = packed;
    run_pass(pass, panels, false);
  });
}

}  // namespace nervure::kernels::NV_ISA
