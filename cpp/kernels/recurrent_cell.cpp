// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_cell.h"

#include "core/vmath.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {

void gru_cell_step(std::int64_t rows, std::int64_t hidden, const float* input, std::int64_t stride,
                   const float* recurrent, const float* h, float* h_out) {
  const std::int64_t H = hidden;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float *const x = input + row * stride, *const g = recurrent + row * 3 * H;
    for_vectors(0, H, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      const vf r = sigmoid(load_some(x + u, count) + load_some(g + u, count));
      const vf z = sigmoid(load_some(x + H + u, count) + load_some(g + H + u, count));
      const vf n = tanh(fma(r, load_some(g + 2 * H + u, count), load_some(x + 2 * H + u, count)));
      store_some(h_out + row * H + u, fma(z, load_some(h + row * H + u, count) - n, n), count);
    });
  }
}

void lstm_cell_step(std::int64_t rows, std::int64_t hidden, const float* gates, std::int64_t stride, const float* c,
                    float* c_out, float* h_out) {
  const std::int64_t H = hidden;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* const g = gates + row * stride;
    for_vectors(0, H, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      const vf i = sigmoid(load_some(g + u, count)), f = sigmoid(load_some(g + H + u, count));
      const vf candidate = tanh(load_some(g + 2 * H + u, count)), o = sigmoid(load_some(g + 3 * H + u, count));
      const vf cell = fma(f, load_some(c + row * H + u, count), i * candidate);
      store_some(c_out + row * H + u, cell, count);
      store_some(h_out + row * H + u, o * tanh(cell), count);
    });
  }
}

}  // namespace nervure::kernels::NV_ISA
