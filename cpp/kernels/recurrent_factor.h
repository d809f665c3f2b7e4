// SPDX-License-Identifier: BSD-3-Clause
// The right factor of products that are repeated at every step. For the kernel files of recurrent layers.
#pragma once

#include <cstdint>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm_tile.h"

namespace nervure::kernels::NV_ISA {

/// Which lines of a matrix the tiles of a product bring: each those of some rows, spread evenly over its steps.
class FetchPattern {
 public:
  static constexpr std::int64_t kMostSteps = 1024;
  /// `pieces` of `columns` floats, `piece_stride` apart, of rows that lie `stride` apart; tiles of `steps` products,
  /// with up to `most` lines, or none when that is 0.
  FetchPattern(std::int64_t columns, std::int64_t pieces, std::int64_t piece_stride, std::int64_t stride,
               std::int64_t steps, std::int64_t most);
  std::int64_t rows() const { return rows_; }  // to a tile
  std::int64_t stride() const { return stride_; }
  const std::int32_t* offsets() const { return offsets_; }

 private:
  std::int64_t rows_, stride_;
  std::int32_t offsets_[kMostSteps];
};

/// What is read after a product, in the order in which its tiles bring it into the second-level cache.
class Fetch {
 public:
  void add(const FetchPattern& pattern, const float* from, std::int64_t rows) {
    if (from && rows > 0 && pattern.rows() > 0) pieces_[count_++] = {&pattern, from, rows};
  }
  /// Of so many tiles the last ones bring it: what came early would be gone again.
  void be_late(std::int64_t tiles);
  /// For one more tile; false when there is nothing to bring.
  bool next(TileOutput& out);

 private:
  struct Piece {
    const FetchPattern* pattern;
    const float* from;
    std::int64_t rows;
  };
  Piece pieces_[4];
  int count_ = 0, at_ = 0;
  std::int64_t early_ = 0;
};

/// B of (K, segments * width): a segment holds one gate of all units. Its columns are cut into panels of `vectors`
/// vectors (the last one narrower); every panel lies in one piece once packed. The sums over K are formed in an order
/// that depends on K alone, so that one step gives the same bits as the whole sequence.
class Factor {
 public:
  /// B[p, j] = b[p * ldb + j], or b[j * ldb + p] when transposed. `rows` that a product usually has.
  Factor(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t segments, std::int64_t width,
         std::int64_t rows);
  std::int64_t panels() const { return panels_; }
  /// Columns of a panel, but for the last of a segment.
  std::int64_t panel_width() const { return panel_width_; }
  /// Tiles that can bring something: of panels [first, last) and so many rows.
  std::int64_t fetching_tiles(std::int64_t first, std::int64_t last, std::int64_t rows) const;
  /// Lines that a tile has time to bring; 0 where none can.
  std::int64_t fetched_lines() const {
    return vectors_ == kTileVectors - 1 && width_ >= panel_width_ ? depth_ * 3 / 4 : 0;
  }
  /// Whether it does not stay in the second-level cache.
  bool is_far() const { return segments_ * K_ * width_ > 200'000; }
  /// Products of a tile.
  std::int64_t depth() const { return depth_; }
  std::int64_t packed_floats() const { return segments_ * panels_ * K_ * panel_width_; }
  void pack(float* to);
  /// C[rows, columns of the panel] = (C +) A B (+ bias). C and the bias begin at column 0 of segment 0, C's columns
  /// lie like those of B.
  void multiply(std::int64_t segment, std::int64_t panel, const float* a, std::int64_t lda, std::int64_t rows, float* c,
                std::int64_t ldc, bool accumulate, const float* bias, Fetch* fetch = nullptr) const;
  /// The same panel of all segments: of the first `added`, the products are added to C; of the others, C = A B + bias.
  void multiply_gates(std::int64_t panel, const float* a, std::int64_t lda, std::int64_t rows, float* c,
                      std::int64_t ldc, std::int64_t added, const float* bias) const;
  /// All panels of all segments, for rows cut into chunks.
  void multiply_all(const float* a, std::int64_t lda, std::int64_t rows, float* c, std::int64_t ldc, bool accumulate,
                    const float* bias) const;

 private:
  const float* panel_at(std::int64_t segment, std::int64_t panel) const;
  std::int64_t columns_of(std::int64_t panel) const;

  const float* b_;
  std::int64_t ldb_;
  bool transposed_;
  std::int64_t K_, depth_, segments_, width_, panels_, panel_width_;
  int vectors_;
  const float* packed_ = nullptr;
  FetchPattern whole_panel_;
};

namespace {

/// The memory that a factor lies in once it is packed, when that is worth it.
class Packing {
 public:
  Packing(Factor& factor, bool worth) : memory_(static_cast<std::size_t>(worth ? factor.packed_floats() : 1)) {
    if (worth) factor.pack(memory_.get());
  }

 private:
  core::Scratch<float> memory_;
};

/// While a tile is computed, what it will be added to, or replace, comes nearer.
inline void prefetch_tile(const float* c, std::int64_t ldc, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kLine = 16;  // floats
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < columns; k += kLine) __builtin_prefetch(c + r * ldc + k);
}

}  // namespace

}  // namespace nervure::kernels::NV_ISA
