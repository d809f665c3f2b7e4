// SPDX-License-Identifier: BSD-3-Clause
// Convolution of channels-last images: y[n, p, q, k] = Σ x[n, p stride - pad + r dilation, ..., c] w[r, s, c, k].
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/activation.h"

namespace nervure::kernels {

/// One convolution. x is (N, H, W, C), w is (R, S, C / groups, K), y is (N, P, Q, K), each dense in this order. Output
/// channel k sees the input channels of its group, k / (K / groups). Pixels of x outside the image are zero, however
/// far outside: P and Q need not follow from the other sizes.
struct Conv {
  std::int64_t N, H, W, C;
  std::int64_t K, R, S;
  std::int64_t P, Q;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t pad_top = 0, pad_left = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t groups = 1;

  std::int64_t group_inputs() const { return C / groups; }
  std::int64_t group_outputs() const { return K / groups; }
  /// Products that one output element sums.
  std::int64_t depth() const { return R * S * group_inputs(); }
  std::int64_t multiplications() const { return N * P * Q * K * depth(); }
};

/// What the user asks for. `automatic` chooses by shape; the others are used where they can be, and `automatic` chooses
/// where they cannot. See choose() in conv.cpp.
enum class ConvAlgorithm : int { automatic, im2col, direct, winograd };

struct ConvOptions {
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;
  bool fast = true;  // Winograd with the larger tile, and for 5x5: fewer products, some four times the rounding error
};

// Outputs are overwritten and overlap no input. N may be 0.

/// y = activation(conv(x, w) + bias); bias (K) or null.
NV_KERNEL(conv_forward, const Conv& conv, ConvOptions options, const float* x, const float* w, const float* bias,
          Activation activation, float* y)
/// dx = activation(conv^T(dy, w) + bias): the gradient of x, or a transposed convolution; bias (C) or null.
NV_KERNEL(conv_backward_data, const Conv& conv, ConvOptions options, const float* dy, const float* w, const float* bias,
          Activation activation, float* dx)
/// dw[r, s, c, k] = Σ x[n, p stride - pad + r dilation, ..., c] dy[n, p, q, k]. Images are summed in blocks fixed by
/// the shape, the blocks added in order.
NV_KERNEL(conv_backward_weight, const Conv& conv, ConvOptions options, const float* x, const float* dy, float* dw)

/// columns[n, p, q, r, s, c] = x[n, p stride - pad + r dilation, ..., c]; all channels, whatever the groups.
NV_KERNEL(im2col, const Conv& conv, const float* x, float* columns)
/// x = Σ of the columns that im2col copied from there.
NV_KERNEL(col2im, const Conv& conv, const float* columns, float* x)

}  // namespace nervure::kernels
