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
  bool pack_a;          // copy transposed A into micro-panels
  bool pack_b;          // copy (and transpose) B into panels first; needed when B is transposed
  bool panels_outside;  // B panel by panel, each under all rows; otherwise row tile by row tile under all panels
};

/// Columns [begin, end) of C are cut into panels of at most two widths: `wide` ones come last.
struct Panels {
  int vectors[2];
  std::int64_t count[2];
};

/// The narrow panel fills the registers with the most rows; a wide one stands in where a narrower would be left over.
Panels cut_panels(std::int64_t columns);

/// The rectangle rows x columns of C, over all of K.
void multiply_block(const Gemm& product, const Blocking& blocking, Range rows, Range columns);

}  // namespace nervure::kernels::NV_ISA
