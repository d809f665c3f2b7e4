// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_pack.h"

#include "core/vec.h"
#include "kernels/lanes.h"
#include "kernels/transpose.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

// Rows of a transposed A fetched ahead: the pieces of them that are copied at a time are too short for the hardware to
// guess the next.
constexpr std::int64_t kAhead = 8;

/// Row after row of B, so that memory is read in its own order, into all panels.
void pack_rows(const float* b, std::int64_t ldb, std::int64_t K, std::int64_t columns, int vectors, float* panels,
               std::int64_t depth) {
  const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
  for (std::int64_t p = 0; p < K; ++p, b += ldb) {
    float* to = panels + p * width;
    std::int64_t j = 0;
    for (; j + width <= columns; j += width, to += depth * width)
      for (int v = 0; v < vectors; ++v) store(to + v * kLanes, load(b + j + v * kLanes));
    for (; j < columns; j += kLanes, to += kLanes)
      store(to, columns - j < kLanes ? load_partial(b + j, columns - j) : load(b + j));
  }
}

/// y[p * y_stride + i] = x[i * x_stride + p]; whole vectors are written, zero behind the last row of x.
void transpose(const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns, float* y,
               std::int64_t y_stride) {
  for (std::int64_t i = 0; i < rows; i += kLanes) {
    const std::int64_t high = rows - i < kLanes ? rows - i : kLanes;
    for (std::int64_t p = 0; p < columns; p += kLanes) {
      const std::int64_t wide = columns - p < kLanes ? columns - p : kLanes;
      const float* from = x + i * x_stride + p;
      float* to = y + p * y_stride + i;
      if (high == kLanes && wide == kLanes)
        transpose_block(from, x_stride, to, y_stride);
      else
        transpose_edge(from, x_stride, high, wide, to, y_stride);
    }
  }
}

}  // namespace

void pack_b(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t columns, int vectors,
            float* panels, std::int64_t depth) {
  if (!transposed) return pack_rows(b, ldb, K, columns, vectors, panels, depth);
  const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
  for (std::int64_t j = 0; j < columns; j += width, panels += depth * width)
    transpose(b + j * ldb, ldb, columns - j < width ? columns - j : width, K, panels, width);
}

void pack_a(const float* a, std::int64_t lda, bool transposed, std::int64_t rows, std::int64_t K, float* packed,
            std::int64_t stride) {
  if (transposed) return transpose(a, lda, K, rows, packed, stride);
  for (std::int64_t i = 0; i < rows; ++i, a += lda, packed += stride)
    for (std::int64_t p = 0; p < K; p += kLanes)
      store(packed + p, K - p < kLanes ? load_partial(a + p, K - p) : load(a + p));
}

void pack_micro_panels(const float* a, std::int64_t lda, std::int64_t rows, std::int64_t K, std::int64_t height,
                       float* packed, std::int64_t stride) {
  for (std::int64_t p = 0; p < K; ++p, a += lda) {
    float* to = packed + p * height;
    if (p + kAhead < K)
      for (std::int64_t i = 0; i < rows; i += 16) __builtin_prefetch(a + kAhead * lda + i);
    for (std::int64_t i = 0; i < rows; i += height, to += stride) {
      const std::int64_t count = smaller(height, rows - i);
      std::int64_t r = 0;
      for (; r + kLanes <= count; r += kLanes) store(to + r, load(a + i + r));
      if (r < count) store_partial(to + r, load_partial(a + i + r, count - r), count - r);
    }
  }
}

}  // namespace nervure::kernels::NV_ISA
