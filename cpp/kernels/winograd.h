// SPDX-License-Identifier: BSD-3-Clause
// 3x3 and 5x5 convolution, stride 1, with fewer multiplications: F(2x2, 3x3) takes 16 for four outputs instead of 36
// and is as exact as direct summation; F(4x4, 3x3) takes 36 for sixteen instead of 144, at an error some four times as
// large; F(4x4, 5x5) takes 64 for sixteen instead of 400, at an error some four times as large again.
// Activations are (images, height, width, channels), weights (taps, taps, channels, out_channels), both dense.
// Results have the same bits for any number of threads. No output may share memory with an input.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// Of the forward convolution, in all three kernels. Padding below and to the right follows from the output size.
struct WinogradShape {
  std::int64_t images, height, width, channels;
  std::int64_t out_height, out_width, out_channels;
  std::int64_t pad_top, pad_left;
  std::int64_t dilation_h = 1, dilation_w = 1;
  int tile = 2, taps = 3;  // along each side: outputs of a tile, 2 or 4; taps, 3, or 5 with tiles of 4
};

/// y[n, i, j, k] = act(bias[k] + Σ x[n, i + r dilation_h - pad_top, j + s dilation_w - pad_left, c] w[r, s, c, k]), act
/// the rectifier or nothing; bias may be null.
NV_KERNEL(winograd_forward, const WinogradShape& shape, const float* x, const float* w, const float* bias, bool relu,
          float* y)
/// dx[n, i, j, c] = Σ dy[n, i - r dilation_h + pad_top, j - s dilation_w + pad_left, k] w[r, s, c, k].
NV_KERNEL(winograd_backward_data, const WinogradShape& shape, const float* dy, const float* w, float* dx)
/// dw[r, s, c, k] = Σ x[n, i + r dilation_h - pad_top, j + s dilation_w - pad_left, c] dy[n, i, j, k].
NV_KERNEL(winograd_backward_weight, const WinogradShape& shape, const float* x, const float* dy, float* dw)

}  // namespace nervure::kernels
