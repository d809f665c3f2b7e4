// SPDX-License-Identifier: BSD-3-Clause
// Activations with PyTorch's default parameters, on vectors: for the element-wise kernels and for epilogues of others.
#pragma once

#include <cstdint>

namespace nervure::kernels {

enum class Activation : int { none, relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus, hardtanh };

/// Whether activation_backward() reads the input of the activation; the others read its output.
constexpr bool derivative_from_input(Activation activation) {
  return activation == Activation::gelu || activation == Activation::gelu_tanh || activation == Activation::silu;
}

}  // namespace nervure::kernels

#ifdef NV_ISA

#include "core/vmath.h"

namespace nervure::kernels::NV_ISA {

using simd::NV_ISA::vf;

constexpr float kLeakySlope = 0.01f;
constexpr float kEluAlpha = 1.0f;
constexpr float kSoftplusBeta = 1.0f, kSoftplusThreshold = 20.0f;
constexpr float kHardtanhMin = -1.0f, kHardtanhMax = 1.0f;

// Forward: y = f(x). Backward: dx = dy f'(.), from x or from y as the parameter is named. NaN in, NaN out.

NV_INLINE vf relu(vf x) { return simd::NV_ISA::max(vf{}, x); }
NV_INLINE vf relu_backward(vf dy, vf y) { return simd::NV_ISA::select(y <= 0.0f, vf{}, dy); }

NV_INLINE vf leaky_relu(vf x, float slope) { return simd::NV_ISA::select(x > 0.0f, x, x * slope); }
NV_INLINE vf leaky_relu_backward(vf dy, vf x, float slope) { return simd::NV_ISA::select(x > 0.0f, dy, dy * slope); }

NV_INLINE vf elu(vf x, float alpha) {
  using namespace simd::NV_ISA;
  return select(x > 0.0f, x, expm1(min(vf{}, x)) * alpha);
}
/// From y; valid for alpha >= 0, where y has the sign of x.
NV_INLINE vf elu_backward(vf dy, vf y, float alpha) { return simd::NV_ISA::select(y > 0.0f, dy, dy * (y + alpha)); }

/// x Phi(x), Phi the normal distribution function.
NV_INLINE vf gelu(vf x) { return x * (simd::NV_ISA::normal_less_half(x) + 0.5f); }
NV_INLINE vf gelu_backward(vf dy, vf x) {
  using namespace simd::NV_ISA;
  const vf distribution = normal_less_half(x) + 0.5f;
  const vf bounded = max(broadcast(-20.0f), min(broadcast(20.0f), x));  // the density is 0 beyond; infinity * 0 is not
  const vf density = exp2(bounded * bounded * -0.721347520f) * 0.398942280f;  // e^(-x^2 / 2) / sqrt(2 pi)
  return dy * fma(bounded, density, distribution);
}

/// x / 2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
constexpr float kGeluLinear = -1.59576912f;  // -2 sqrt(2 / pi)
constexpr float kGeluCubic = -1.59576912f * 0.044715f;
NV_INLINE vf gelu_tanh(vf x) {
  using namespace simd::NV_ISA;
  return x / (exp(x * polynomial(x * x, kGeluLinear, kGeluCubic)) + 1.0f);
}
NV_INLINE vf gelu_tanh_backward(vf dy, vf x) {
  using namespace simd::NV_ISA;
  const vf bounded = max(broadcast(-20.0f), min(broadcast(20.0f), x));
  const vf z = bounded * bounded;
  const vf s = 1.0f / (exp(bounded * polynomial(z, kGeluLinear, kGeluCubic)) + 1.0f);
  const vf slope = bounded * polynomial(z, -kGeluLinear, -3.0f * kGeluCubic);  // x (2u)'
  return dy * fma(s * slope, 1.0f - s, s);
}

NV_INLINE vf silu(vf x) { return x / (simd::NV_ISA::exp(-x) + 1.0f); }
NV_INLINE vf silu_backward(vf dy, vf x) {
  using namespace simd::NV_ISA;
  const vf s = sigmoid(x);
  return dy * s * fma(x, 1.0f - s, broadcast(1.0f));
}

NV_INLINE vf tanh_backward(vf dy, vf y) { return dy * (1.0f - y * y); }
NV_INLINE vf sigmoid_backward(vf dy, vf y) { return dy * (y * (1.0f - y)); }

/// log(1 + e^(beta x)) / beta, and x itself where beta x > threshold.
NV_INLINE vf softplus(vf x, float beta, float threshold) {
  using namespace simd::NV_ISA;
  return select(x * beta > threshold, x, simd::NV_ISA::softplus(x * beta) / beta);
}
/// From y: sigmoid(beta x) = 1 - e^(-beta y).
NV_INLINE vf softplus_backward(vf dy, vf y, float beta) { return dy * -simd::NV_ISA::expm1(y * -beta); }

NV_INLINE vf hardtanh(vf x, float low, float high) {
  using namespace simd::NV_ISA;
  return min(broadcast(high), max(broadcast(low), x));
}
NV_INLINE vf hardtanh_backward(vf dy, vf y, float low, float high) {
  return simd::NV_ISA::select((y <= low) | (y >= high), vf{}, dy);
}

/// activation(x). With a constant activation, or outside the inner loop, the switch costs nothing.
NV_INLINE vf activate(Activation activation, vf x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return relu(x);
    case Activation::leaky_relu:
      return leaky_relu(x, kLeakySlope);
    case Activation::elu:
      return elu(x, kEluAlpha);
    case Activation::gelu:
      return gelu(x);
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::silu:
      return silu(x);
    case Activation::tanh:
      return simd::NV_ISA::tanh(x);
    case Activation::sigmoid:
      return simd::NV_ISA::sigmoid(x);
    case Activation::softplus:
      return softplus(x, kSoftplusBeta, kSoftplusThreshold);
    case Activation::hardtanh:
      return hardtanh(x, kHardtanhMin, kHardtanhMax);
  }
  return x;
}

/// dy * activation'; `saved` is the input if derivative_from_input(activation), else the output.
NV_INLINE vf activation_backward(Activation activation, vf dy, vf saved) {
  switch (activation) {
    case Activation::none:
      return dy;
    case Activation::relu:
      return relu_backward(dy, saved);
    case Activation::leaky_relu:
      return leaky_relu_backward(dy, saved, kLeakySlope);
    case Activation::elu:
      return elu_backward(dy, saved, kEluAlpha);
    case Activation::gelu:
      return gelu_backward(dy, saved);
    case Activation::gelu_tanh:
      return gelu_tanh_backward(dy, saved);
    case Activation::silu:
      return silu_backward(dy, saved);
    case Activation::tanh:
      return tanh_backward(dy, saved);
    case Activation::sigmoid:
      return sigmoid_backward(dy, saved);
    case Activation::softplus:
      return softplus_backward(dy, saved, kSoftplusBeta);
    case Activation::hardtanh:
      return hardtanh_backward(dy, saved, kHardtanhMin, kHardtanhMax);
  }
  return dy;
}

}  // namespace nervure::kernels::NV_ISA

#endif  // NV_ISA
