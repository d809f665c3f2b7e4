// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemm_epilogue.h"

#include "kernels/activation.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

template <Activation Name>
NV_INLINE void activate_row(std::int64_t columns, float* c) {
  std::int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) store(c + j, activate(Name, load(c + j)));
  if (j < columns) store_partial(c + j, activate(Name, load_partial(c + j, columns - j)), columns - j);
}

template <Activation Name>
void activate_all(std::int64_t rows, std::int64_t columns, float* c, std::int64_t ldc) {
  for (std::int64_t i = 0; i < rows; ++i) activate_row<Name>(columns, c + i * ldc);
}

}  // namespace

void activate_rows(Activation activation, std::int64_t rows, std::int64_t columns, float* c, std::int64_t ldc) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return activate_all<Activation::relu>(rows, columns, c, ldc);
    case Activation::leaky_relu:
      return activate_all<Activation::leaky_relu>(rows, columns, c, ldc);
    case Activation::elu:
      return activate_all<Activation::elu>(rows, columns, c, ldc);
    case Activation::gelu:
      return activate_all<Activation::gelu>(rows, columns, c, ldc);
    case Activation::gelu_tanh:
      return activate_all<Activation::gelu_tanh>(rows, columns, c, ldc);
    case Activation::silu:
      return activate_all<Activation::silu>(rows, columns, c, ldc);
    case Activation::tanh:
      return activate_all<Activation::tanh>(rows, columns, c, ldc);
    case Activation::sigmoid:
      return activate_all<Activation::sigmoid>(rows, columns, c, ldc);
    case Activation::softplus:
      return activate_all<Activation::softplus>(rows, columns, c, ldc);
    case Activation::hardtanh:
      return activate_all<Activation::hardtanh>(rows, columns, c, ldc);
  }
}

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
      if (whole)
        store(c + j, y);
      else
        store_partial(c + j, y, n);
    }
    activate_rows(g.activation, 1, columns.size(), c + columns.begin, g.ldc);
  }
}

}  // namespace nervure::kernels::NV_ISA
