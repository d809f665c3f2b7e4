// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_gradients.h"

#include <cstring>

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
constexpr std::int64_t kDepth = 128;                     // rows of the gradients that are packed at a time
constexpr std::int64_t kPanels = 6;                      // to a chunk: what is packed stays in the second-level cache
constexpr std::int64_t kLeft = kDepth * kTileRows + 16;  // floats of a packed tile of the left factor
constexpr int kPanelVectors = kTileVectors - 1;
constexpr std::int64_t kPanel = kPanelVectors * kLanes;

/// Rows at these distances fall on few sets of the first-level cache, and push each other out.
bool packs_left(std::int64_t width) { return width % 256 == 0; }

/// Tile by tile, kLeft floats each.
void pack_left(const float* a, std::int64_t width, std::int64_t rows, float* packed) {
  const std::int64_t whole = width / kTileRows * kTileRows;
  for (std::int64_t p = 0; p < rows; ++p, a += width) {
    float* to = packed + p * kTileRows;
    for (std::int64_t i = 0; i < whole; i += kTileRows, to += kLeft) std::memcpy(to, a + i, kTileRows * sizeof(float));
    for (std::int64_t i = whole; i < width; ++i) to[i - whole] = a[i];
  }
}

/// Some rows' share of one panel of dw.
struct Panel {
  const float* packed;
  std::int64_t rows, columns;
  bool accumulate;
  float* dw;
  std::int64_t dw_stride;

  void add(const float* a, std::int64_t a_stride, std::int64_t row, int height) const {
    const int vectors = static_cast<int>(ceil_div(columns, kLanes));
    const std::int64_t behind = columns - (vectors - 1) * kLanes;
    tile_function(TileA::columns, height, vectors, behind < kLanes)(
        a, a_stride, packed, kPanel, rows,
        {dw + row * dw_stride, dw_stride, behind, nullptr, nullptr, accumulate, false});
  }
  void add_packed(const float* left, std::int64_t width) const {
    for (std::int64_t i = 0; i < width; i += kTileRows, left += kLeft)
      add(left, kTileRows, i, static_cast<int>(smaller(kTileRows, width - i)));
  }
  void add_in_place(const float* a, std::int64_t width) const {
    const RowTiles tiles = cut_rows(width, max_tile_rows(static_cast<int>(ceil_div(columns, kLanes))));
    std::int64_t i = 0;
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const int height = tiles.height + (t < tiles.taller);
      add(a + i, width, i, height);
      i += height;
    }
  }
};

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
  WeightColumns(const WeightProduct& product, std::int64_t dw_stride, std::int64_t first, std::int64_t last)
      : p_(product),
        dw_stride_(dw_stride),
        first_(first),
        last_(last),
        packed_(static_cast<std::size_t>(kDepth * ceil_div(last - first, kPanel) * kPanel)),
        left_(static_cast<std::size_t>(kLeft * ceil_div(kNarrow, kTileRows))) {}

  void run() const {
    const GateGradients& d = p_.d;
    std::int64_t row = 0;
    do {  // once even without rows: the sums are 0 then
      const std::int64_t rows = smaller(kDepth, d.rows - row);
      pack_b(d.data + row * d.stride + first_, d.stride, false, rows, last_ - first_, kPanelVectors, packed_.get(),
             rows);
      for (const LeftFactor& factor : p_.factors)
        if (factor.dw) multiply(factor, row, rows);
      for (std::int64_t column = first_; p_.sums && column < last_; column += kPanel)
        sum_panel(packed_.get() + (column - first_) * rows, rows, smaller(kPanel, last_ - column), row > 0,
                  p_.sums + column);
      row += kDepth;
    } while (row < d.rows);
  }

 private:
  void multiply(const LeftFactor& factor, std::int64_t row, std::int64_t rows) const {
    const float* const a = factor.a + row * factor.width;
    const bool packs = packs_left(factor.width);
    if (packs) pack_left(a, factor.width, rows, left_.get());
    for (std::int64_t column = first_; column < last_; column += kPanel) {
      const Panel panel{packed_.get() + (column - first_) * rows,
                        rows,
                        smaller(kPanel, last_ - column),
                        row > 0,
                        factor.dw + column,
                        dw_stride_};
      if (packs)
        panel.add_packed(left_.get(), factor.width);
      else
        panel.add_in_place(a, factor.width);
    }
  }

  const WeightProduct& p_;
  std::int64_t dw_stride_, first_, last_;
  core::Scratch<float> packed_, left_;
};

/// Wide factors are left to the general product, and gone afterwards; the width of the others.
std::int64_t keep_narrow(WeightProduct& product, std::int64_t dw_stride) {
  const GateGradients& d = product.d;
  std::int64_t width = 0;
  for (LeftFactor& factor : product.factors) {
    if (factor.dw && factor.width > kNarrow)
      gemm({factor.width, d.columns, d.rows, factor.a, factor.width, true, d.data, d.stride, false, factor.dw,
            dw_stride});
    if (factor.width == 0 || factor.width > kNarrow) factor.dw = nullptr;
    if (factor.dw) width += factor.width;
  }
  return width;
}

}  // namespace

void weight_gradients(const WeightProduct* products, int count, std::int64_t dw_stride) {
  WeightProduct narrow[2];
  std::int64_t grain[2] = {1, 1}, chunks[2] = {0, 0};
  for (int i = 0; i < count; ++i) {
    narrow[i] = products[i];
    const GateGradients& d = products[i].d;
    const std::int64_t width = keep_narrow(narrow[i], dw_stride), panels = ceil_div(d.columns, kPanel);
    if (width == 0) {
      if (products[i].sums) column_sums(d, products[i].sums);
      continue;
    }
    const std::int64_t least = 200'000 / larger(d.rows * width * kPanel, 1);
    grain[i] = larger(smaller(kPanels, ceil_div(panels, count == 1 ? 2 : 1)), larger(least, 1));
    chunks[i] = ceil_div(panels, grain[i]);
  }
  core::parallel_chunks(chunks[0] + chunks[1], [&](std::int64_t chunk) {
    const int i = chunk >= chunks[0];
    const std::int64_t first = (chunk - (i ? chunks[0] : 0)) * grain[i] * kPanel;
    WeightColumns(narrow[i], dw_stride, first, smaller(first + grain[i] * kPanel, narrow[i].d.columns)).run();
  });
}

void weight_gradients(const LeftFactor (&factors)[2], std::int64_t dw_stride, const GateGradients& d, float* sums) {
  const WeightProduct product{{factors[0], factors[1]}, d, sums};
  weight_gradients(&product, 1, dw_stride);
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
