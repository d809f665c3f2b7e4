// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_epilogue.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

NV_INLINE vf activated(Activation activation, vf x) {
  if (activation == Activation::relu) return max(vf{}, x);
  return x;
}

}  // namespace

void finish_rows(const Gemm& g, Range rows, Range columns, const float* sums, std::int64_t stride) {
  for (std::int64_t i = rows.begin; i < rows.end; ++i, sums += stride) {
    const vf row_bias = broadcast(g.row_bias ? g.row_bias[i] : 0.0f);
    float* c = g.c + i * g.ldc;
    for (std::int64_t j = columns.begin; j < columns.end; j += kLanes) {
      const std::int64_t n = columns.end - j;
      const bool whole = n >= kLanes;
      vf y = whole ? load(sums + j - columns.begin) : load_partial(sums + j - columns.begin, n);
      if (g.column_bias) y += whole ? load(g.column_bias + j) : load_partial(g.column_bias + j, n);
      y += row_bias;
      if (g.accumulate) y += whole ? load(c + j) : load_partial(c + j, n);
      y = activated(g.activation, y);
      if (whole)
        store(c + j, y);
      else
        store_partial(c + j, y, n);
    }
  }
}

void activate_rows(Activation activation, std::int64_t rows, std::int64_t columns, float* c, std::int64_t ldc) {
  for (std::int64_t i = 0; i < rows; ++i, c += ldc) {
    std::int64_t j = 0;
    for (; j + kLanes <= columns; j += kLanes) store(c + j, activated(activation, load(c + j)));
    if (j < columns) store_partial(c + j, activated(activation, load_partial(c + j, columns - j)), columns - j);
  }
}

}  // namespace nervure::kernels::NV_ISA
