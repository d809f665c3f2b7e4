// SPDX-License-Identifier: BSD-3-Clause
// The activations that other kernels can fuse, with PyTorch's default parameters.
#pragma once

namespace nervure::kernels {

enum class Activation : int {
  none, relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus, hardtanh
};

}  // namespace nervure::kernels
