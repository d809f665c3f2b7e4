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
// Of one region, for all rows: one thread goes through the chunks of rows in turns, while their steps are near.
constexpr std::int64_t kRegion = 8'000'000;
constexpr std::int64_t kFewRows = 16;  // to a chunk of rows, two tiles
// Floats: read by every chunk of rows at every step, they would come from the third-level cache each time.
constexpr std::int64_t kLargeWeights = 150'000;
constexpr std::int64_t kMostChunks = 8;  // of a step

}  // namespace

Factor::Factor(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t segments,
               std::int64_t width, std::int64_t rows)
    : b_(b), ldb_(ldb), transposed_(transposed), K_(K), segments_(segments), width_(width) {
  depth_ = even_step_within(K, kMostDepth, 4);
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

void Factor::multiply(std::int64_t segment, std::int64_t panel, const float* a, std::int64_t lda, std::int64_t rows,
                      float* c, std::int64_t ldc, bool accumulate, const float* bias) const {
  if (rows <= 0) return;
  const std::int64_t column = segment * width_ + panel * panel_width_;
  const std::int64_t columns = smaller(panel_width_, width_ - panel * panel_width_);
  const int vectors = static_cast<int>(ceil_div(columns, kLanes));
  const std::int64_t behind = columns - (vectors - 1) * kLanes;
  const bool masked = behind < kLanes;
  const std::int64_t b_stride = packed_ ? vectors * kLanes : ldb_;
  const float* b = packed_ ? packed_ + (segment * panels_ + panel) * K_ * panel_width_ : b_ + column;
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
      if (depth >= kDeep) prefetch_tile(out.c, ldc, tiles.height + taller, columns);
      (taller ? tall : low)(from, lda, b + p * b_stride, b_stride, depth, out);
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

Split split_steps(const Sequence& sequence, std::int64_t work, std::int64_t panels, bool by_units) {
  Split split{};
  const std::int64_t step_work = work * sequence.batch;
  split.units = by_units && step_work >= kChunk / 2 && (sequence.batch < kFewRows || work > kLargeWeights);
  if (split.units) {
    split.rows = sequence.batch;
    split.panels = ceil_div(panels, smaller(panels, smaller(larger(step_work / kChunk, 2), kMostChunks)));
    split.steps = 1;
    return split;
  }
  split.panels = panels;
  const bool worth = step_work * sequence.steps > 2 * kChunk;
  split.rows = worth ? even_step_within(sequence.batch, kFewRows, 1) : larger(sequence.batch, 1);
  split.steps = larger(smaller(kLongest / larger(work * split.rows, 1), kRegion / larger(step_work, 1)), 1);
  return split;
}

}  // namespace nervure::kernels::NV_ISA
