// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gemv.h"

#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/horizontal.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr int kRows = 8;  // of B per pass over y: y is loaded and stored once for 8 products
constexpr int kDots = 4;  // dot products at once share the loads of x

/// y[0 .. columns) (+)= sum over Rows rows of B of x[p] * B[p, :].
template <int Rows>
void add_rows(const float* x, const float* b, std::int64_t ldb, float* y, std::int64_t columns, bool first) {
  vf scale[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) scale[r] = broadcast(x[r]);
  std::int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    vf even = first ? vf{} : load(y + j);
    vf odd{};
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      vf& into = r % 2 ? odd : even;
      into = fma(scale[r], load(b + r * ldb + j), into);
    }
    store(y + j, even + odd);
  }
  if (j == columns) return;
  const std::int64_t last = columns - j;
  vf acc = first ? vf{} : load_partial(y + j, last);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) acc = fma(scale[r], load_partial(b + r * ldb + j, last), acc);
  store_partial(y + j, acc, last);
}

void vector_times_rows(const Gemm& g, const float* x, std::int64_t x_stride, Range columns, float* y) {
  const float* b = g.b + columns.begin;
  float scale[kRows];
  std::int64_t p = 0;
  for (; p + kRows <= g.K; p += kRows) {
    for (int r = 0; r < kRows; ++r) scale[r] = x[(p + r) * x_stride];
    add_rows<kRows>(scale, b + p * g.ldb, g.ldb, y, columns.size(), p == 0);
  }
  for (; p < g.K; ++p) add_rows<1>(x + p * x_stride, b + p * g.ldb, g.ldb, y, columns.size(), p == 0);
}

/// y[d] = x . b_d for Dots rows of the transposed B.
template <int Dots>
void dots(const float* x, const float* b, std::int64_t ldb, std::int64_t K, float* y) {
  vf acc[Dots][2];
#pragma GCC unroll 4
  for (int d = 0; d < Dots; ++d) acc[d][0] = acc[d][1] = vf{};
  std::int64_t p = 0;
  for (; p + 2 * kLanes <= K; p += 2 * kLanes) {
    const vf x0 = load(x + p), x1 = load(x + p + kLanes);
#pragma GCC unroll 4
    for (int d = 0; d < Dots; ++d) {
      acc[d][0] = fma(x0, load(b + d * ldb + p), acc[d][0]);
      acc[d][1] = fma(x1, load(b + d * ldb + p + kLanes), acc[d][1]);
    }
  }
  for (; p < K; p += kLanes) {
    const std::int64_t last = K - p < kLanes ? K - p : kLanes;
    const vf x0 = load_partial(x + p, last);
#pragma GCC unroll 4
    for (int d = 0; d < Dots; ++d) acc[d][0] = fma(x0, load_partial(b + d * ldb + p, last), acc[d][0]);
  }
  if constexpr (Dots == 4)
    store_quarter(
        y, sum_of_four(acc[0][0] + acc[0][1], acc[1][0] + acc[1][1], acc[2][0] + acc[2][1], acc[3][0] + acc[3][1]));
  else
    y[0] = sum_of_four(acc[0][0] + acc[0][1], vf{}, vf{}, vf{})[0];
}

void vector_times_columns(const Gemm& g, const float* x, Range columns, float* y) {
  std::int64_t j = columns.begin;
  for (; j + kDots <= columns.end; j += kDots, y += kDots) dots<kDots>(x, g.b + j * g.ldb, g.ldb, g.K, y);
  for (; j < columns.end; ++j, ++y) dots<1>(x, g.b + j * g.ldb, g.ldb, g.K, y);
}

// Columns worked on at once: what is added to C may not be overwritten before it is read.
constexpr std::int64_t kColumns = 4096;

}  // namespace

void multiply_vector(const Gemm& g, Range columns) {
  const std::int64_t x_stride = g.a_transposed ? g.lda : 1;
  const bool gather = g.b_transposed && x_stride != 1;
  const core::Scratch<float> scratch(static_cast<std::size_t>(kColumns + (gather ? g.K : 0)));
  float* const y = scratch.get();
  const float* x = g.a;
  if (gather) {
    for (std::int64_t p = 0; p < g.K; ++p) y[kColumns + p] = g.a[p * x_stride];
    x = y + kColumns;
  }
  if (g.K == 0)
    for (std::int64_t j = 0; j < kColumns; ++j) y[j] = 0.0f;
  for (std::int64_t j = columns.begin; j < columns.end; j += kColumns) {
    const Range part{j, j + kColumns < columns.end ? j + kColumns : columns.end};
    if (g.b_transposed)
      vector_times_columns(g, x, part, y);
    else
      vector_times_rows(g, x, x_stride, part, y);
    finish_rows(g, {0, 1}, part, y, kColumns);
  }
}

}  // namespace nervure::kernels::NV_ISA
