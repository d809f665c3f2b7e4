// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_pack.h"

#include "core/vec.h"
#include "kernels/transpose.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

void pack_rows(const float* b, std::int64_t ldb, std::int64_t K, std::int64_t columns, int vectors, float* panel) {
  const std::int64_t full = columns / kLanes;
  const std::int64_t last = columns - full * kLanes;
  for (std::int64_t p = 0; p < K; ++p, b += ldb, panel += vectors * kLanes) {
    for (std::int64_t v = 0; v < full; ++v) store(panel + v * kLanes, load(b + v * kLanes));
    if (last) store(panel + full * kLanes, load_partial(b + full * kLanes, last));
  }
}

// One vector column of the panel: up to kLanes rows of the transposed matrix.
void pack_transposed(const float* b, std::int64_t ldb, std::int64_t K, std::int64_t columns, std::int64_t width,
                     float* panel) {
  const std::int64_t whole = columns == kLanes ? K - K % kLanes : 0;
  for (std::int64_t p = 0; p < whole; p += kLanes) transpose_block(b + p, ldb, panel + p * width, width);
  for (std::int64_t p = whole; p < K; p += kLanes) {
    const std::int64_t depth = K - p < kLanes ? K - p : kLanes;
    transpose_edge(b + p, ldb, columns, depth, panel + p * width, width);
  }
}

NV_INLINE void copy_few(const float* from, int count, float* to) {
  if (count == 8) {
    std::memcpy(to, from, 32);
  } else if (count >= 4) {  // two halves that may overlap
    std::memcpy(to, from, 16);
    std::memmove(to + count - 4, from + count - 4, 16);
  } else {
    for (int i = 0; i < count; ++i) to[i] = from[i];
  }
}

}  // namespace

void pack_b_panel(const float* b, std::int64_t ldb, bool transposed, std::int64_t K, std::int64_t columns, int vectors,
                  float* panel) {
  if (!transposed) return pack_rows(b, ldb, K, columns, vectors, panel);
  const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
  for (std::int64_t j = 0; j < columns; j += kLanes)
    pack_transposed(b + j * ldb, ldb, K, columns - j < kLanes ? columns - j : kLanes, width, panel + j);
}

void pack_a_columns(const float* a, std::int64_t lda, std::int64_t K, std::int64_t panels, int rows, float* packed) {
  const std::int64_t step = K * rows;  // from a micro-panel to the next
  for (std::int64_t p = 0; p < K; ++p, a += lda, packed += rows) {
    for (std::int64_t t = 0; t < panels; ++t) copy_few(a + t * rows, rows, packed + t * step);
  }
}

}  // namespace nervure::kernels::NV_ISA
