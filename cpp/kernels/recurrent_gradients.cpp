// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_gradients.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm.h"
#include "kernels/lanes.h"
#include "kernels/linear.h"

namespace nervure::kernels::NV_ISA {

void weight_gradient(const float* a, std::int64_t width, const GateGradients& d, float* dw, std::int64_t dw_stride) {
  gemm({width, d.columns, d.rows, a, width, true, d.data, d.stride, false, dw, dw_stride});
}

void input_gradient(const GateGradients& d, const float* w, std::int64_t w_stride, std::int64_t width, bool add,
                    float* dx) {
  Gemm product{d.rows, width, d.columns, d.data, d.stride, false, w, w_stride, true, dx, width};
  product.accumulate = add;
  gemm(product);
}

void column_sums(const GateGradients& d, float* sums) {
  linear_epilogue_backward(Activation::none, d.rows, d.columns, d.data, nullptr, nullptr, sums);
}

void column_products(const GateGradients& d, const float* c, float* sums) {
  constexpr std::int64_t kRows = 256;  // to a block: sums of blocks are added in order
  const std::int64_t blocks = larger(ceil_div(d.rows, kRows), 1), columns = d.columns;
  const core::Scratch<float> parts(static_cast<std::size_t>(blocks * columns));
  core::parallel_chunks(blocks, [&](std::int64_t block) {
    float* const part = parts.get() + block * columns;
    for_vectors(0, columns, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
      vf total{};
      for (std::int64_t r = block * kRows; r < smaller(d.rows, (block + 1) * kRows); ++r)
        total = fma(load_some(d.data + r * d.stride + u, n), load_some(c + r * columns + u, n), total);
      store_some(part + u, total, n);
    });
  });
  for_vectors(0, columns, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    vf total{};
    for (std::int64_t block = 0; block < blocks; ++block) total += load_some(parts.get() + block * columns + u, n);
    store_some(sums + u, total, n);
  });
}

}  // namespace nervure::kernels::NV_ISA
