// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_gradients.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"
#include "kernels/recurrent_factor.h"

namespace nervure::kernels::NV_ISA {

namespace {

// Wider matrices are left to the general product.
constexpr std::int64_t kNarrow = 256;
constexpr std::int64_t kDepth = 128;  // rows of the gradients that are packed at a time
constexpr std::int64_t kPanels = 6;   // to a chunk: what is packed stays in the second-level cache
constexpr int kPanelVectors = kTileVectors - 1;
constexpr std::int64_t kPanel = kPanelVectors * kLanes;

/// Some rows' share of one panel of dw.
void add_rows(const float* a, std::int64_t width, std::int64_t rows, const float* packed, std::int64_t columns,
              bool accumulate, float* dw, std::int64_t dw_stride) {
  const int vectors = static_cast<int>(ceil_div(columns, kLanes));
  const std::int64_t behind = columns - (vectors - 1) * kLanes;
  const RowTiles tiles = cut_rows(width, max_tile_rows(vectors));
  std::int64_t i = 0;
  for (std::int64_t t = 0; t < tiles.count; ++t) {
    const int height = tiles.height + (t < tiles.taller);
    tile_function(TileA::columns, height, vectors, behind < kLanes)(
        a + i, width, packed, kPanel, rows,
        {dw + i * dw_stride, dw_stride, behind, nullptr, nullptr, accumulate, false});
    i += height;
  }
}

/// sums[k] (+)= the sums of one packed panel.
void sum_panel(const float* packed, std::int64_t rows, std::int64_t columns, bool accumulate, float* sums) {
  for_vectors(0, columns, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    vf total[4] = {};
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) total[k] += load(packed + (r + k) * kPanel + u);
    for (; r < rows; ++r) total[0] += load(packed + r * kPanel + u);
    const vf sum = (total[0] + total[1]) + (total[2] + total[3]);
    store_some(sums + u, accumulate ? load_some(sums + u, n) + sum : sum, n);
  });
}

/// Columns [first, last), block of rows by block of rows: each row of d is read once, in its own order.
class WeightColumns {
 public:
  WeightColumns(const LeftFactor (&factors)[2], std::int64_t dw_stride, const GateGradients& d, float* sums)
      : factors_(factors), dw_stride_(dw_stride), d_(d), sums_(sums) {}

  void run(std::int64_t first, std::int64_t last) const {
    const core::Scratch<float> packed(static_cast<std::size_t>(kDepth * ceil_div(last - first, kPanel) * kPanel));
    std::int64_t row = 0;
    do {  // once even without rows: the sums are 0 then
      const std::int64_t rows = smaller(kDepth, d_.rows - row);
      pack_b(d_.data + row * d_.stride + first, d_.stride, false, rows, last - first, kPanelVectors, packed.get(),
             rows);
      for (const LeftFactor& factor : factors_) multiply(factor, row, rows, first, last, packed.get());
      for (std::int64_t column = first; sums_ && column < last; column += kPanel)
        sum_panel(packed.get() + (column - first) * rows, rows, smaller(kPanel, last - column), row > 0,
                  sums_ + column);
      row += kDepth;
    } while (row < d_.rows);
  }

 private:
  void multiply(const LeftFactor& factor, std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t last,
                const float* packed) const {
    for (std::int64_t column = first; factor.dw && column < last; column += kPanel)
      add_rows(factor.a + row * factor.width, factor.width, rows, packed + (column - first) * rows,
               smaller(kPanel, last - column), row > 0, factor.dw + column, dw_stride_);
  }

  const LeftFactor (&factors_)[2];
  std::int64_t dw_stride_;
  const GateGradients& d_;
  float* sums_;
};

}  // namespace

void weight_gradients(const LeftFactor (&factors)[2], std::int64_t dw_stride, const GateGradients& d, float* sums) {
  if (d.columns == 0) return;
  LeftFactor narrow[2] = {factors[0], factors[1]};
  std::int64_t width = 0;
  for (LeftFactor& factor : narrow) {
    if (factor.dw && factor.width > kNarrow)
      gemm({factor.width, d.columns, d.rows, factor.a, factor.width, true, d.data, d.stride, false, factor.dw,
            dw_stride});
    if (factor.width == 0 || factor.width > kNarrow) factor.dw = nullptr;
    if (!factor.dw) factor.width = 0;
    width += factor.width;
  }
  if (width == 0) {
    if (sums) column_sums(d, sums);
    return;
  }
  const std::int64_t panels = ceil_div(d.columns, kPanel),
                     least = larger(200'000 / larger(d.rows * width * kPanel, 1), 1);
  const std::int64_t grain = larger(smaller(kPanels, ceil_div(panels, 2)), least);
  const WeightColumns columns(narrow, dw_stride, d, sums);
  core::parallel_for(panels, grain, [&](std::int64_t begin, std::int64_t end) {
    columns.run(begin * kPanel, smaller(end * kPanel, d.columns));
  });
}

void weight_gradient(const LeftFactor& factor, std::int64_t dw_stride, const GateGradients& d, float* sums) {
  weight_gradients({factor, {nullptr, 0, nullptr}}, dw_stride, d, sums);
}

void input_gradient(const GateGradients& d, const float* w, std::int64_t w_stride, std::int64_t width, bool add,
                    float* dx) {
  if (width > kNarrow) {
    Gemm product{d.rows, width, d.columns, d.data, d.stride, false, w, w_stride, true, dx, width};
    product.accumulate = add;
    return gemm(product);
  }
  Factor factor(w, w_stride, true, d.columns, 1, width, d.rows);
  const core::Scratch<float> packed(static_cast<std::size_t>(factor.packed_floats()));
  factor.pack(packed.get());
  factor.multiply_all(d.data, d.stride, d.rows, dx, width, add, nullptr);
}

namespace {

constexpr std::int64_t kRows = 256;  // to a block: the sums of blocks are added in order
constexpr int kVectors = 4;          // in registers: as many sums hide the latency of an addition

/// part[u ..] = the sums of d, times c where there is one, over a block of rows.
template <bool Products>
void sum_block(const GateGradients& d, const float* c, std::int64_t c_stride, std::int64_t first, std::int64_t last,
               float* part) {
  std::int64_t u = 0;
  for (; u + kVectors * kLanes <= d.columns; u += kVectors * kLanes) {
    vf total[kVectors] = {};
    for (std::int64_t r = first; r < last; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const vf x = load(d.data + r * d.stride + u + v * kLanes);
        total[v] = Products ? fma(x, load(c + r * c_stride + u + v * kLanes), total[v]) : total[v] + x;
      }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(part + u + v * kLanes, total[v]);
  }
  for_vectors(u, d.columns, [&](std::int64_t at, std::int64_t n) NV_INLINE_LAMBDA {
    vf total{};
    for (std::int64_t r = first; r < last; ++r) {
      const vf x = load_some(d.data + r * d.stride + at, n);
      total = Products ? fma(x, load_some(c + r * c_stride + at, n), total) : total + x;
    }
    store_some(part + at, total, n);
  });
}

template <bool Products>
void sum_columns(const GateGradients& d, const float* c, std::int64_t c_stride, float* sums) {
  const std::int64_t blocks = larger(ceil_div(d.rows, kRows), 1), columns = d.columns;
  const core::Scratch<float> parts(static_cast<std::size_t>(blocks * columns));
  core::parallel_chunks(blocks, [&](std::int64_t block) {
    sum_block<Products>(d, c, c_stride, block * kRows, smaller(d.rows, (block + 1) * kRows),
                        parts.get() + block * columns);
  });
  for_vectors(0, columns, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    vf total{};
    for (std::int64_t block = 0; block < blocks; ++block) total += load_some(parts.get() + block * columns + u, n);
    store_some(sums + u, total, n);
  });
}

}  // namespace

void column_sums(const GateGradients& d, float* sums) { sum_columns<false>(d, nullptr, 0, sums); }

void column_products(const GateGradients& d, const float* c, std::int64_t c_stride, float* sums) {
  sum_columns<true>(d, c, c_stride, sums);
}

}  // namespace nervure::kernels::NV_ISA
