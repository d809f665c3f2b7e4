// SPDX-License-Identifier: BSD-3-Clause
// The innermost piece of every matrix product: one tile of C in registers. For kernels that bring their own loops
// (GEMM, convolution, Winograd, LSTM); includes nothing that allocates or cuts work.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {

/// How a tile's rows of A lie in memory.
enum class TileA : int {
  rows = 0,     // A[i, p] = a[i * a_stride + p]: a row-major matrix in place
  columns = 1,  // A[i, p] = a[p * a_stride + i]: a transposed matrix in place, or a packed micro-panel
};

/// A call works through `count` tiles, one after the other. Of the next one A, B, C and the biases lie so many floats
/// on.
struct TileSteps {
  std::int64_t count = 1, a = 0, b = 0, c = 0;
  std::int64_t rows = 0, columns = 0;  // of the biases
};

/// Where a finished tile goes: C = activation(A B + bias (+ C)). Tiles know the rectifier; other activations are a
/// pass of the caller over tiles that are still in the first-level cache.
struct TileOutput {
  float* c;
  std::int64_t ldc;
  std::int64_t last;         // columns in the last vector, 1 .. kLanes; only masked tiles look at it
  const float* column_bias;  // of the tile's first column, or null; as many floats as the tile has columns
  const float* row_bias;     // of the tile's first row, or null
  bool accumulate;
  bool relu;
  // A fetching tile also brings the cache lines of ahead[offsets[p]], p < fetched_lines(K), which are read later.
  const float* ahead = nullptr;
  const std::int32_t* offsets = nullptr;
  TileSteps steps = {};
};

/// C[rows, vectors * kLanes] from K products; B[p, j] = b[p * b_stride + j], row after row. Of the last vector of a
/// masked tile only the first output.last columns are read and written. C does not overlap A or B.
using TileFunction = void (*)(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                              std::int64_t K, const TileOutput& output);

// Steps over K for one line fetched ahead: those of few products leave the processor no instruction to spare.
// Register budget: rows * vectors accumulators, `vectors` of B, one broadcast.
#if defined(__AVX512F__)
constexpr int kFetchEvery = 1;
constexpr int kTileVectors = 4;
constexpr int kTileRows = 8;  // with up to 3 vectors
constexpr int max_tile_rows(int vectors) { return vectors == 4 ? 6 : 8; }
#elif defined(__AVX2__)
constexpr int kFetchEvery = 8;
constexpr int kTileVectors = 3;
constexpr int kTileRows = 6;
constexpr int max_tile_rows(int vectors) { return vectors == 3 ? 4 : 6; }
#else
constexpr int kFetchEvery = 8;
constexpr int kTileVectors = 3;
constexpr int kTileRows = 6;
constexpr int max_tile_rows(int vectors) { return vectors == 3 ? 4 : 6; }
#endif

constexpr std::int64_t fetched_lines(std::int64_t K) { return K < kFetchEvery ? 1 : K / kFetchEvery; }

/// The tile of 1 <= vectors <= kTileVectors and 1 <= rows <= max_tile_rows(vectors).
TileFunction tile_function(TileA layout, int rows, int vectors, bool masked);
/// Its variant that brings lines ahead, for whole tiles one vector narrower than the widest and of more than half the
/// greatest height; null for others.
TileFunction fetching_tile(TileA layout, int rows, int vectors);
/// The whole tile for a panel of B that lies in the first-level cache already.
TileFunction resident_tile(TileA layout, int rows, int vectors);

}  // namespace nervure::kernels::NV_ISA
