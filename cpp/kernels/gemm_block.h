// SPDX-License-Identifier: BSD-3-Clause
// One rectangle of C computed by one thread: the loops around the tiles.
#pragma once

#include <cstdint>

#include "kernels/gemm.h"
#include "kernels/gemm_tile.h"

namespace nervure::kernels::NV_ISA {

struct Range {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

/// How a rectangle is worked through. All choices come from the shape of the product.
struct Blocking {
  std::int64_t depth;   // of one pass over K
  bool pack_b;          // copy (and transpose) B into panels first; needed when B is transposed
  bool panels_outside;  // B panel by panel, each under all rows; otherwise row tile by row tile under all panels
  bool far = false;     // B does not stay in the cache: the tiles bring the next block
};

/// Rows are cut into tiles of two heights that differ by one, instead of full tiles and a bad remainder.
struct RowTiles {
  std::int64_t count, taller;
  int height;  // the first `taller` have one row more
};
RowTiles cut_rows(std::int64_t rows, int most);

/// One pass over part of K.
struct Pass {
  const Gemm* product;
  Range rows, columns, depth;
  const float* packed_b;  // panel after panel from columns.begin on, or null: B in place
  // Rows of A from rows.begin on, packed_a_stride apart; in micro-panels of kTileRows if A is transposed, kTileRows *
  // packed_a_stride apart; or null: A in place.
  const float* packed_a;
  std::int64_t packed_a_stride;
  bool first, last;  // of the passes over K
  const struct Ahead* ahead = nullptr;
};

/// What the tiles of a pass bring meanwhile: a block of B that will be packed next, and the rows of A and C under the
/// next tile of rows. Patterns of offsets are those of TileOutput.
struct Ahead {
  static constexpr std::int64_t kMostDepth = 512;
  const float* b;  // or null
  std::int64_t b_rows, b_stride, rows_per_tile;
  std::int64_t b_from;  // the row of C under which the first of B is brought: late, or it does not stay in the cache
  std::int64_t a_tiles, c_tiles;  // of those under a tile of rows, how many bring A, then C
  std::int64_t lines;             // that a tile brings
  std::int32_t b_offsets[kMostDepth], a_offsets[kMostDepth], c_offsets[kMostDepth];
};

/// Columns [begin, end) of C are cut into panels of at most two widths: `wide` ones come last.
struct Panels {
  int vectors[2];
  std::int64_t count[2];
};

/// The narrow panel fills the registers with the most rows; a wide one stands in where a narrower would be left over.
Panels cut_panels(std::int64_t columns);
/// Narrow panels, the last one possibly narrower still, or wide if that may be: all but the last have the same size.
Panels cut_narrow_panels(std::int64_t columns, bool never_wide);

/// For a pass of at most kMostDepth under narrow panels. The block of B, as large as that of the pass, begins at
/// `column`; none if that lies outside.
void plan_ahead(const Pass& pass, std::int64_t column, bool fetches_a, Ahead& ahead);

/// B[depth, columns] as pass.packed_b expects it: columns rounded up to whole vectors, times the depth.
void pack_panels(const Gemm& product, Range depth, Range columns, const Panels& panels, float* packed);
void run_pass(const Pass& pass, const Panels& panels, bool panels_outside);

/// The rectangle rows x columns of C, over all of K.
void multiply_block(const Gemm& product, const Blocking& blocking, Range rows, Range columns);

}  // namespace nervure::kernels::NV_ISA
