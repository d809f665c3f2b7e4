// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_factor.h"

#include "kernels/even_step.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kMostDepth = 1024;       // of one pass over K
constexpr std::int64_t kDeep = 64;              // products that take longer than it takes to fetch a tile
constexpr std::int64_t kChunk = 200'000;        // multiplications
constexpr std::int64_t kLongest = 500'000'000;  // of one chunk: below 100 ms on the slowest instruction set

/// One row by one panel of all segments at once: in one segment alone, every product would wait for the one before.
struct RowOfGates {
  const float *a, *b;
  std::int64_t K, b_stride, b_segment;
  float* c;
  std::int64_t c_segment, last;  // columns in the last vector
  std::int64_t added;
  const float* bias;
};

template <int Segments, int Vectors>
void multiply_row(const RowOfGates& row) {
  constexpr std::int64_t kAhead = 8;  // rows of B, as the tiles have it
  vf acc[Segments][Vectors];
#pragma GCC unroll 4
  for (int s = 0; s < Segments; ++s)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) acc[s][v] = vf{};
  const float* b = row.b;
  for (std::int64_t p = 0; p < row.K; ++p, b += row.b_stride) {
    const vf x = broadcast(row.a[p]);
#pragma GCC unroll 4
    for (int s = 0; s < Segments; ++s) {
      const float* const from = b + s * row.b_segment;
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const std::int64_t count = v == Vectors - 1 ? row.last : kLanes;
        __builtin_prefetch(from + kAhead * row.b_stride + v * kLanes);
        acc[s][v] = fma(x, load_some(from + v * kLanes, count), acc[s][v]);
      }
    }
  }
#pragma GCC unroll 4
  for (int s = 0; s < Segments; ++s) {
    const std::int64_t at = s * row.c_segment;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const std::int64_t count = v == Vectors - 1 ? row.last : kLanes, u = at + v * kLanes;
      const float* const other = s < row.added ? row.c : row.bias;
      store_some(row.c + u, other ? acc[s][v] + load_some(other + u, count) : acc[s][v], count);
    }
  }
}

template <int Segments>
bool multiply_row_of(int vectors, const RowOfGates& row) {
  if (vectors == 1) return multiply_row<Segments, 1>(row), true;
  if (vectors == 2) return multiply_row<Segments, 2>(row), true;
  if (vectors == 3) return multiply_row<Segments, 3>(row), true;
  if constexpr (kTileVectors == 4)
    if (vectors == 4) return multiply_row<Segments, 4>(row), true;
  return false;
}

}  // namespace

namespace {
constexpr std::int64_t kLine = 16;  // floats
}

FetchPattern::FetchPattern(std::int64_t columns, std::int64_t pieces, std::int64_t piece_stride, std::int64_t stride,
                           std::int64_t steps, std::int64_t most)
    : stride_(stride) {
  const std::int64_t lines = larger(ceil_div(columns, kLine), 1);
  rows_ = most == 0 ? 0 : larger(most / (lines * pieces), 1);
  if (rows_ == 0) return;
  std::int64_t row = 0, piece = 0, line = 0, due = 0;
  for (std::int64_t p = 0; p < smaller(steps, kMostSteps); ++p) {
    offsets_[p] = static_cast<std::int32_t>(row * stride + piece * piece_stride + line * kLine);
    for (due += rows_ * pieces * lines; due >= steps; due -= steps) {
      if (++line < lines) continue;
      line = 0;
      if (++piece < pieces) continue;
      piece = 0;
      ++row;
    }
  }
}

bool Fetch::next(TileOutput& out) {
  if (early_-- > 0 || at_ == count_) return false;
  Piece& piece = pieces_[at_];
  out.ahead = piece.from;
  out.offsets = piece.pattern->offsets();
  piece.from += piece.pattern->rows() * piece.pattern->stride();
  piece.rows -= piece.pattern->rows();
  if (piece.rows <= 0) ++at_;
  return true;
}

void Fetch::be_late(std::int64_t tiles) {
  early_ = tiles;
  for (int i = 0; i < count_; ++i) early_ -= ceil_div(pieces_[i].rows, pieces_[i].pattern->rows());
}

Factor::Factor(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t segments,
               std::int64_t width, std::int64_t rows)
    : b_(b),
      ldb_(ldb),
      transposed_(transposed),
      K_(K),
      depth_(even_step_within(K, kMostDepth, 4)),
      segments_(segments),
      width_(width),
      whole_panel_(kLine, 1, 0, kLine, depth_, is_far() ? depth_ : 0) {
  const int widest = rows <= max_tile_rows(kTileVectors) ? kTileVectors : kTileVectors - 1;
  const std::int64_t all = ceil_div(width, kLanes);
  const std::int64_t pieces = larger(ceil_div(all, widest), 1);
  vectors_ = static_cast<int>(larger(ceil_div(all, pieces), 1));
  panel_width_ = vectors_ * kLanes;
  panels_ = ceil_div(width, panel_width_);
}

void Factor::pack(float* to) {
  core::parallel_for(segments_ * panels_, larger(16 * 1024 / larger(K_ * panel_width_, 1), 1),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i) {
                         const std::int64_t segment = i / panels_, column = i % panels_ * panel_width_;
                         const std::int64_t from = segment * width_ + column;
                         const std::int64_t columns = smaller(panel_width_, width_ - column);
                         pack_b(b_ + (transposed_ ? from * ldb_ : from), ldb_, transposed_, K_, columns,
                                static_cast<int>(ceil_div(columns, kLanes)), to + i * K_ * panel_width_, K_);
                       }
                     });
  packed_ = to;
}

std::int64_t Factor::fetching_tiles(std::int64_t first, std::int64_t last, std::int64_t rows) const {
  if (vectors_ != kTileVectors - 1) return 0;
  return larger(smaller(last, width_ / panel_width_) - first, 0) * ceil_div(rows, max_tile_rows(vectors_));
}

const float* Factor::panel_at(std::int64_t segment, std::int64_t panel) const {
  return packed_ ? packed_ + (segment * panels_ + panel) * K_ * panel_width_
                 : b_ + segment * width_ + panel * panel_width_;
}

std::int64_t Factor::columns_of(std::int64_t panel) const {
  return smaller(panel_width_, width_ - panel * panel_width_);
}

void Factor::multiply_gates(std::int64_t panel, const float* a, std::int64_t lda, std::int64_t rows, float* c,
                            std::int64_t ldc, std::int64_t added, const float* bias) const {
  if (rows == 1 && segments_ > 1 && K_ <= depth_) {
    const std::int64_t columns = columns_of(panel), u = panel * panel_width_;
    const int vectors = static_cast<int>(ceil_div(columns, kLanes));
    const RowOfGates row{a,
                         panel_at(0, panel),
                         K_,
                         packed_ ? vectors * kLanes : ldb_,
                         packed_ ? panels_ * K_ * panel_width_ : width_,
                         c + u,
                         width_,
                         columns - (vectors - 1) * kLanes,
                         added,
                         bias ? bias + u : nullptr};
    if (segments_ == 4 ? multiply_row_of<4>(vectors, row) : multiply_row_of<3>(vectors, row)) return;
  }
  for (std::int64_t s = 0; s < segments_; ++s)
    multiply(s, panel, a, lda, rows, c, ldc, s < added, s < added ? nullptr : bias);
}

void Factor::multiply(std::int64_t segment, std::int64_t panel, const float* a, std::int64_t lda, std::int64_t rows,
                      float* c, std::int64_t ldc, bool accumulate, const float* bias, Fetch* fetch) const {
  if (rows <= 0) return;
  const std::int64_t column = segment * width_ + panel * panel_width_, columns = columns_of(panel);
  const int vectors = static_cast<int>(ceil_div(columns, kLanes));
  const std::int64_t behind = columns - (vectors - 1) * kLanes;
  const bool masked = behind < kLanes;
  const std::int64_t b_stride = packed_ ? vectors * kLanes : ldb_;
  const float* const b = panel_at(segment, panel);
  Fetch next_panel;
  if (packed_ && is_far() && panel + 1 < panels_) {
    next_panel.add(whole_panel_, panel_at(segment, panel + 1), K_ * columns_of(panel + 1) / kLine);
    fetch = &next_panel;
  }
  const RowTiles tiles = cut_rows(rows, max_tile_rows(vectors));
  const TileFunction low = tiles.height ? tile_function(TileA::rows, tiles.height, vectors, masked) : nullptr;
  const TileFunction tall = tiles.taller ? tile_function(TileA::rows, tiles.height + 1, vectors, masked) : low;
  std::int64_t p = 0;
  do {
    const std::int64_t depth = smaller(depth_, K_ - p);
    TileOutput out{c + column,          ldc,  behind, p == 0 && bias ? bias + column : nullptr, nullptr,
                   p > 0 || accumulate, false};
    const float* from = a + p;
    for (std::int64_t i = 0; i < tiles.count; ++i) {
      const bool taller = i < tiles.taller;
      TileFunction tile = taller ? tall : low;
      const TileFunction fetching =
          fetch && !masked ? fetching_tile(TileA::rows, tiles.height + taller, vectors) : nullptr;
      if (fetching && fetch->next(out)) tile = fetching;
      if (depth >= kDeep) prefetch_tile(out.c, ldc, tiles.height + taller, columns);
      tile(from, lda, b + p * b_stride, b_stride, depth, out);
      from += (tiles.height + taller) * lda;
      out.c += (tiles.height + taller) * ldc;
    }
    p += depth_;
  } while (p < K_);
}

void Factor::multiply_all(const float* a, std::int64_t lda, std::int64_t rows, float* c, std::int64_t ldc,
                          bool accumulate, const float* bias) const {
  const std::int64_t row_work = larger(K_ * segments_ * width_, 1);
  const std::int64_t grain = smaller(larger(ceil_div(kChunk / row_work, 8) * 8, 48), larger(kLongest / row_work, 8));
  core::parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t segment = 0; segment < segments_; ++segment)
      for (std::int64_t panel = 0; panel < panels_; ++panel)
        multiply(segment, panel, a + begin * lda, lda, end - begin, c + begin * ldc, ldc, accumulate, bias);
  });
}

}  // namespace nervure::kernels::NV_ISA
