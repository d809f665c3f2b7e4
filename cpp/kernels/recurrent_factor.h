// SPDX-License-Identifier: BSD-3-Clause
// The right factor of products that are repeated at every step. For the kernel files of recurrent layers.
#pragma once

#include <cstdint>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm_tile.h"

namespace nervure::kernels::NV_ISA {

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
  std::int64_t packed_floats() const { return segments_ * panels_ * K_ * panel_width_; }
  void pack(float* to);
  /// C[rows, columns of the panel] = (C +) A B (+ bias). C and the bias begin at column 0 of segment 0, C's columns
  /// lie like those of B.
  void multiply(std::int64_t segment, std::int64_t panel, const float* a, std::int64_t lda, std::int64_t rows, float* c,
                std::int64_t ldc, bool accumulate, const float* bias) const;
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
