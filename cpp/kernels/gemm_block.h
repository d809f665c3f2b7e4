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
  const float* packed_a;  // rows of A from rows.begin on, packed_a_stride apart, or null: A in place
  std::int64_t packed_a_stride;
  bool first, last;  // of the passes over K
};

/// Columns [begin, end) of C are cut into panels of at most two widths: `wide` ones come last.
struct Panels {
  int vectors[2];
  std::int64_t count[2];
};

/// The narrow panel fills the registers with the most rows; a wide one stands in where a narrower would be left over.
Panels cut_panels(std::int64_t columns);
/// Narrow panels only, the last one possibly narrower still: every panel but the last has the same size.
Panels cut_narrow_panels(std::int64_t columns);

/// B[depth, columns] as pass.packed_b expects it: columns rounded up to whole vectors, times the depth.
void pack_panels(const Gemm& product, Range depth, Range columns, const Panels& panels, float* packed);
void run_pass(const Pass& pass, const Panels& panels, bool panels_outside);

/// The rectangle rows x columns of C, over all of K.
void multiply_block(const Gemm& product, const Blocking& blocking, Range rows, Range columns);

}  // namespace nervure::kernels::NV_ISA
