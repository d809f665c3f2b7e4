// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_block.h"

#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr int kNarrow = kTileVectors - 1;

constexpr std::int64_t kResident = 6400;     // floats of a panel of B that stay in the first-level cache
constexpr std::int64_t kAllResident = 8192;  // and of a few panels that go round there

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
    layout_ = g_.a_transposed ? TileA::columns : TileA::rows;
    a_stride_ = !pass.packed_a ? g_.lda : g_.a_transposed ? kTileRows : pass.packed_a_stride;
    b_ = pass.packed_b ? pass.packed_b : b_at(g_, pass.depth.begin, strip.column);
    b_stride_ = pass.packed_b ? width_ : g_.ldb;
    b_step_ = pass.packed_b ? width_ * K_ : width_;
    a_row_step_ = pass.packed_a ? pass.packed_a_stride : g_.a_transposed ? 1 : g_.lda;
    stays_ =
        strip.vectors >= kNarrow && K_ * width_ <= kResident && (b_stride_ % 64 != 0 || K_ * b_stride_ <= kResident);
    all_stay_ = strip.vectors >= kNarrow && K_ * width_ * strip.count <= kAllResident;
    activates_ = pass.last && g_.activation != Activation::none && g_.activation != Activation::relu;
    tiles_ = cut_rows(pass.rows.size(), max_tile_rows(strip.vectors));
    out_ = {g_.c,
            g_.ldc,
            last_width_ - width_ + kLanes,
            nullptr,
            nullptr,
            !pass.first || g_.accumulate,
            pass.last && g_.activation == Activation::relu};
  }

  void run(bool panels_outside) {
    if (panels_outside) {
      for (std::int64_t panel = 0; panel < strip_.count; ++panel) panel_under_rows(panel);
    } else {
      std::int64_t row = pass_.rows.begin;
      for (std::int64_t t = 0; t < tiles_.count; ++t) {
        const bool micro_panels = pass_.packed_a && g_.a_transposed;
        const int height = micro_panels ? static_cast<int>(smaller(kTileRows, pass_.rows.end - row))
                                        : tiles_.height + (t < tiles_.taller);
        row_under_panels(row, height);
        row += height;
      }
    }
  }

 private:
  void panel_under_rows(std::int64_t panel) {
    const bool stays = stays_ && !is_masked(panel);
    const int height = tiles_.height + (tiles_.taller > 0);
    // The first tile brings the panel.
    const std::int64_t bringing = stays ? 1 : tiles_.taller > 0 ? tiles_.taller : tiles_.count;
    std::int64_t row = run_tiles(panel, pass_.rows.begin, height, bringing, false);
    if (tiles_.taller > bringing) row = run_tiles(panel, row, height, tiles_.taller - bringing, stays);
    const std::int64_t left = tiles_.count - larger(tiles_.taller, bringing);
    if (left > 0) run_tiles(panel, row, tiles_.height, left, stays);
  }

  /// `count` tiles, one below the other, under one panel; the row after them.
  std::int64_t run_tiles(std::int64_t panel, std::int64_t row, int height, std::int64_t count, bool resident) {
    const TileFunction tile = resident ? resident_tile(layout_, height, strip_.vectors)
                                       : tile_function(layout_, height, strip_.vectors, is_masked(panel));
    const std::int64_t at_once = activates_ ? 1 : count;
    out_.steps = {at_once, height * a_row_step_, 0, height * g_.ldc, height, 0};
    for (std::int64_t t = 0; t < count; t += at_once, row += at_once * height)
      run_tile(tile, a_row(row), row, height, panel);
    return row;
  }

  void row_under_panels(std::int64_t row, int height) {
    const TileFunction fetching = pass_.ahead ? fetching_tile(layout_, height, strip_.vectors) : nullptr;
    const TileFunction whole = all_stay_ ? resident_tile(layout_, height, strip_.vectors)
                                         : tile_function(layout_, height, strip_.vectors, false);
    const float* const a = a_row(row);
    const std::int64_t unmasked = strip_.count - is_masked(strip_.count - 1);
    const std::int64_t at_once = fetching || activates_ ? 1 : unmasked;
    out_.steps = {at_once, 0, b_step_, width_, 0, width_};
    for (std::int64_t panel = 0; panel < unmasked; panel += at_once)
      run_tile(fetching && aim(row + height, panel) ? fetching : whole, a, row, height, panel);
    if (unmasked == strip_.count) return;
    out_.steps = {};
    run_tile(tile_function(layout_, height, strip_.vectors, true), a, row, height, unmasked);
  }

  /// Whether there is something to bring under this panel, for the tiles of rows from `next` on.
  bool aim(std::int64_t next, std::int64_t panel) {
    const Ahead& ahead = *pass_.ahead;
    const bool more = next < pass_.rows.end;
    const std::int64_t after_a = panel - ahead.a_tiles;
    if (more && after_a < 0) {
      out_.ahead = a_row(next);
      out_.offsets = ahead.a_offsets + panel * ahead.lines;
    } else if (more && after_a < ahead.c_tiles) {
      out_.ahead = g_.c + next * g_.ldc + strip_.column;
      out_.offsets = ahead.c_offsets + after_a * ahead.lines;
    } else {
      if (next <= ahead.b_from || !ahead.b) return false;
      out_.ahead = ahead.b + fetched_++ * ahead.rows_per_tile * ahead.b_stride;
      out_.offsets = ahead.b_offsets;
      return fetched_ * ahead.rows_per_tile <= ahead.b_rows;
    }
    return true;
  }

  void run_tile(TileFunction tile, const float* a, std::int64_t row, int height, std::int64_t panel) {
    const std::int64_t column = strip_.column + panel * width_;
    out_.c = g_.c + row * g_.ldc + column;
    if (pass_.last && g_.column_bias) out_.column_bias = g_.column_bias + column;
    if (pass_.last && g_.row_bias) out_.row_bias = g_.row_bias + row;
    tile(a, a_stride_, b_ + panel * b_step_, b_stride_, K_, out_);
    if (!activates_) return;
    // The tile still lies in the first-level cache.
    activate_rows(g_.activation, height, panel == strip_.count - 1 ? last_width_ : width_, out_.c, out_.ldc);
  }

  bool is_masked(std::int64_t panel) const { return panel == strip_.count - 1 && last_width_ < width_; }

  const float* a_row(std::int64_t row) const {
    if (!pass_.packed_a) return a_at(g_, row, pass_.depth.begin);
    return pass_.packed_a + (row - pass_.rows.begin) * pass_.packed_a_stride;
  }

  const Pass& pass_;
  const Strip& strip_;
  const Gemm& g_;
  std::int64_t width_, last_width_, K_, a_stride_, a_row_step_, b_stride_, b_step_;
  bool stays_, all_stay_;  // a panel of B, or all, in the first-level cache while rows pass by
  bool activates_;         // what the tiles cannot
  const float* b_;
  TileA layout_;
  RowTiles tiles_;
  TileOutput out_;
  std::int64_t fetched_ = 0;  // tiles that brought part of the next block of B
};

/// Wide panels ask for fewer elements of A but for more of B at a time: only where B comes from the first-level cache.
Panels cut_in_place(Range columns, std::int64_t depth) {
  constexpr std::int64_t kWide = kTileVectors * kLanes;
  if (columns.size() % kWide == 0 && depth * kWide <= kResident)
    return {{kTileVectors, 0}, {columns.size() / kWide, 0}};
  return cut_panels(columns.size());
}

constexpr std::int64_t kGroup = 192;  // columns packed at a time

/// A few panels at a time, packed if there is room for it; the tiles bring the next ones if B is far.
void by_groups(Pass pass, bool far, float* packed) {
  const Range columns = pass.columns;
  pass.packed_b = packed;
  Ahead ahead;
  for (std::int64_t j = columns.begin; j < columns.end; j += kGroup) {
    pass.columns = {j, smaller(j + kGroup, columns.end)};
    const Panels panels = far ? cut_narrow_panels(pass.columns.size(), true) : cut_panels(pass.columns.size());
    if (packed) pack_panels(*pass.product, pass.depth, pass.columns, panels, packed);
    if (far) {
      plan_ahead(pass, j + kGroup, false, ahead);
      pass.ahead = &ahead;
    }
    run_pass(pass, panels, !far);
  }
}

/// offsets[p], p < count: rows x lines of 16 floats, row after row, spread evenly.
void spread(std::int64_t rows, std::int64_t row_step, std::int64_t lines, std::int64_t count, std::int32_t* offsets) {
  std::int64_t row = 0, line = 0, due = 0;
  for (std::int64_t p = 0; p < count; ++p) {
    offsets[p] = static_cast<std::int32_t>(row * row_step + line * 16);
    for (due += rows * lines; due >= count; due -= count)
      if (++line == lines) {
        line = 0;
        ++row;
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
  if (rows > 0 && rows <= most) return {1, 0, static_cast<int>(rows)};
  const std::int64_t count = most == kTileRows ? (rows + kTileRows - 1) / kTileRows : ceil_div(rows, most);
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

Panels cut_narrow_panels(std::int64_t columns, bool never_wide) {
  const std::int64_t vectors = (columns + kLanes - 1) / kLanes;
  const std::int64_t narrow = vectors / kNarrow;
  const std::int64_t left = vectors - narrow * kNarrow;
  if (left == 1 && narrow > 0 && !never_wide) return {{kNarrow, kTileVectors}, {narrow - 1, 1}};
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

void plan_ahead(const Pass& pass, std::int64_t column, bool fetches_a, Ahead& ahead) {
  const Gemm& g = *pass.product;
  const std::int64_t K = pass.depth.size(), columns = pass.columns.size();
  const std::int64_t lines = ceil_div(g.b_transposed ? K : columns, 16);
  const std::int64_t slots = fetched_lines(K), panels = ceil_div(columns, kNarrow * kLanes);
  ahead.lines = slots;
  ahead.a_tiles = fetches_a ? ceil_div(kTileRows * K, 16 * slots + 16) : 0;
  ahead.c_tiles = ceil_div(kTileRows * ceil_div(columns, 16), slots);
  const std::int64_t for_b = larger(panels - ahead.a_tiles - ahead.c_tiles, 1);
  const std::int64_t tiles = ceil_div(pass.rows.size(), kTileRows);
  ahead.b = column < g.N ? b_at(g, pass.depth.begin, column) : nullptr;
  ahead.b_rows = g.b_transposed ? columns : K;
  ahead.b_stride = g.ldb;
  ahead.rows_per_tile = larger(larger(ceil_div(ahead.b_rows, tiles * for_b), divide(slots, 2 * lines)), 1);
  ahead.b_from = pass.rows.end - ceil_div(ahead.b_rows, ahead.rows_per_tile * for_b) * kTileRows;
  spread(ahead.rows_per_tile, g.ldb, lines, slots, ahead.b_offsets);
  spread(kTileRows, g.ldc, ceil_div(columns, 16), ahead.c_tiles * slots, ahead.c_offsets);
  const std::int64_t for_a = ahead.a_tiles * slots;
  if (!fetches_a) return;
  if (g.a_transposed)
    spread(1, 0, kTileRows * K / 16, for_a, ahead.a_offsets);
  else
    spread(kTileRows, pass.packed_a ? pass.packed_a_stride : g.lda, ceil_div(K, 16), for_a, ahead.a_offsets);
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
  if (!blocking.pack_b) {
    const Panels panels = cut_in_place(columns, blocking.depth);
    return over_depth(product, blocking, rows, columns, [&](const Pass& pass) {
      if (blocking.far) return by_groups(pass, true, nullptr);
      run_pass(pass, panels, blocking.panels_outside);
    });
  }
  const std::int64_t padded = ceil_div(columns.size(), kLanes) * kLanes;
  const std::int64_t width = blocking.panels_outside ? smaller(kGroup, padded) : padded;
  const core::Scratch<float> scratch(static_cast<std::size_t>(width * blocking.depth));
  float* const packed = scratch.get();
  over_depth(product, blocking, rows, columns, [&](Pass pass) {
    if (blocking.panels_outside) return by_groups(pass, blocking.far, packed);
    const Panels panels = cut_panels(columns.size());
    pack_panels(product, pass.depth, columns, panels, packed);
    pass.packed_b = packed;
    run_pass(pass, panels, false);
  });
}

}  // namespace nervure::kernels::NV_ISA
