// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

enum class Unary : int {
  neg,
  abs,
  exp,
  log,
  sqrt,
  square,
  reciprocal,
  sin,
  cos,
  clip,
  relu,
  leaky_relu,
  elu,
  gelu,
  gelu_tanh,
  silu,
  tanh,
  sigmoid,
  softplus,
  hardtanh
};

/// y[i] = op(x[i]); y may be x. Parameters p, q: clip and hardtanh low, high; leaky_relu slope; elu alpha; softplus
/// beta, threshold. NaN stays NaN.
NV_KERNEL(unary_forward, Unary op, const float* x, float* y, std::int64_t n, float p, float q);

/// Whether unary_backward() wants the output of the op rather than its input.
constexpr bool saves_output(Unary op, float p) {
  switch (op) {
    case Unary::exp:
    case Unary::sqrt:
    case Unary::reciprocal:
    case Unary::relu:
    case Unary::tanh:
    case Unary::sigmoid:
      return true;
    case Unary::elu:
      return p >= 0.0f;  // else y does not tell the sign of x
    default:
      return false;
  }
}

/// dx[i] = dy[i] * op'(.), from x or y as saves_output() says (neg ignores it); dx may be dy or saved.
NV_KERNEL(unary_backward, Unary op, const float* dy, const float* saved, float* dx, std::int64_t n, float p, float q);

}  // namespace nervure::kernels
