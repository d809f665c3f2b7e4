// SPDX-License-Identifier: BSD-3-Clause
// The tile of gemm_tile.h for rows that lie anywhere: pixels under a kernel instead of rows of a matrix.
#pragma once

#include <cstdint>

#include "core/vec.h"
#include "kernels/gemm_tile.h"

namespace nervure::kernels::NV_ISA {

/// The products of a tile, in runs: number p of run j multiplies a[i][offset[j] + p * step] with the next row of B.
struct TileRuns {
  const std::int64_t* offset;
  std::int64_t count, length, step;
  const float* ahead = nullptr;  // fetched into the cache, one line for each product: what the next tiles read; or null
};

/// C[i, :] = activation(sum + bias (+ C[i, :])); row i begins at c[i].
struct ConvTileOutput {
  float* const* c;
  std::int64_t last;  // columns in the last vector, 1 .. kLanes; only masked tiles look at it
  const float* bias;  // of the tile's first column, or null
  bool accumulate;
  bool relu;
};

/// Rows of B lie b_stride apart, run after run. Of the last vector of a masked tile only the first output.last columns
/// are read and written. C overlaps neither A nor B.
using ConvTileFunction = void (*)(const float* const* a, const TileRuns& runs, const float* b, std::int64_t b_stride,
                                  const ConvTileOutput& output);

/// A tile of one vector and so many rows (two heights), for rows of A side by side: row i begins at a[0] + i. More of
/// them than of scattered rows fit: their addresses need no registers.
#if defined(__AVX512F__)
constexpr std::int64_t kTallRows = 16, kLowRows = 8;
#else
constexpr std::int64_t kTallRows = 12, kLowRows = 4;
#endif
void dense_conv_tile(bool tall, const float* a, const TileRuns& runs, const float* b, std::int64_t b_stride, float* c,
                     std::int64_t ldc, bool accumulate);

/// The tile of 1 <= vectors <= kTileVectors and 1 <= rows <= max_tile_rows(vectors).
ConvTileFunction conv_tile_function(int rows, int vectors, bool masked);

}  // namespace nervure::kernels::NV_ISA
