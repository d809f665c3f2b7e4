// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/unary.h"

#include <limits>

#include "core/launch.h"
#include "kernels/compare.h"
#include "ops/broadcast.h"

namespace nervure::ops {
namespace {

using kernels::Unary;

Tensor unary_gradient(Unary op, const Tensor& dy, const float* saved, const Order& order, float p, float q) {
  Tensor converted;
  const Tensor& in = in_order(dy, order, converted);
  const Tensor dx = Tensor::empty_like(in);
  core::launch(dx.numel(), [op, d = in.f32(), saved, to = dx.f32_out(), n = dx.numel(), p, q] {
    kernels::unary_backward(op, d, saved, to, n, p, q);
  });
  return dx;
}

/// The memory alone: a detached tensor would cost a third of a small op.
core::Ref<core::Storage> memory_for_backward(Unary op, const Tensor& x, const Tensor& y, float p) {
  if (op == Unary::neg) return {};
  return (kernels::saves_output(op, p) ? y : x).body()->storage;
}

Tensor unary(const char* name, Unary op, const Tensor& input, float p = 0.0f, float q = 0.0f) {
  Tensor converted;
  const Tensor& x = as_float32(input, converted);
  const Tensor y = Tensor::empty_like(x);
  core::launch(x.numel(), [op, from = x.f32(), to = y.f32_out(), n = x.numel(), p, q] {
    kernels::unary_forward(op, from, to, n, p, q);
  });
  if (core::needs_grad(x))
    core::record(name, y, {x}, core::saved(memory_for_backward(op, x, y, p)),
                 [op, order = x.order(), p, q](core::Gradients& g, const core::Ref<core::Storage>& saved) {
                   const auto* values = saved ? static_cast<const float*>(saved->data()) : nullptr;
                   g.set(0, unary_gradient(op, g.dy(), values, order, p, q));
                 });
  return y;
}

Tensor float_test(kernels::FloatTest test, const Tensor& input) {
  const Tensor y = Tensor::empty_like(input, DType::boolean);
  if (input.dtype() != DType::float32) {
    fill_(y, test == kernels::FloatTest::isfinite ? 1.0 : 0.0);
    return y;
  }
  core::launch(y.numel(), [test, from = input.f32(), to = y.mask_out(), n = y.numel()] {
    kernels::float_test_forward(test, from, to, n);
  });
  return y;
}

}  // namespace

Tensor neg(const Tensor& x) { return unary("neg", Unary::neg, x); }
Tensor abs(const Tensor& x) { return unary("abs", Unary::abs, x); }
Tensor exp(const Tensor& x) { return unary("exp", Unary::exp, x); }
Tensor log(const Tensor& x) { return unary("log", Unary::log, x); }
Tensor sqrt(const Tensor& x) { return unary("sqrt", Unary::sqrt, x); }
Tensor square(const Tensor& x) { return unary("square", Unary::square, x); }
Tensor reciprocal(const Tensor& x) { return unary("reciprocal", Unary::reciprocal, x); }
Tensor sin(const Tensor& x) { return unary("sin", Unary::sin, x); }
Tensor cos(const Tensor& x) { return unary("cos", Unary::cos, x); }

Tensor clip(const Tensor& x, std::optional<double> low, std::optional<double> high) {
  NV_CHECK(low || high, "clip", "low or high must be given");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return unary("clip", Unary::clip, x, static_cast<float>(low.value_or(-kInfinity)),
               static_cast<float>(high.value_or(kInfinity)));
}

Tensor relu(const Tensor& x) { return unary("relu", Unary::relu, x); }
Tensor leaky_relu(const Tensor& x, double negative_slope) {
  return unary("leaky_relu", Unary::leaky_relu, x, static_cast<float>(negative_slope));
}
Tensor elu(const Tensor& x, double alpha) { return unary("elu", Unary::elu, x, static_cast<float>(alpha)); }
Tensor gelu(const Tensor& x, const std::string& approximate) {
  NV_CHECK(approximate == "none" || approximate == "tanh", "gelu", "approximate must be 'none' or 'tanh', got '",
           approximate, "'");
  return unary("gelu", approximate == "tanh" ? Unary::gelu_tanh : Unary::gelu, x);
}
Tensor silu(const Tensor& x) { return unary("silu", Unary::silu, x); }
Tensor tanh(const Tensor& x) { return unary("tanh", Unary::tanh, x); }
Tensor sigmoid(const Tensor& x) { return unary("sigmoid", Unary::sigmoid, x); }
Tensor softplus(const Tensor& x, double beta, double threshold) {
  NV_CHECK(beta != 0.0, "softplus", "beta must not be 0");
  return unary("softplus", Unary::softplus, x, static_cast<float>(beta), static_cast<float>(threshold));
}
Tensor hardtanh(const Tensor& x, double min_val, double max_val) {
  NV_CHECK(min_val <= max_val, "hardtanh", "min_val must not exceed max_val, got ", min_val, " and ", max_val);
  return unary("hardtanh", Unary::hardtanh, x, static_cast<float>(min_val), static_cast<float>(max_val));
}

Tensor isnan(const Tensor& x) { return float_test(kernels::FloatTest::isnan, x); }
Tensor isfinite(const Tensor& x) { return float_test(kernels::FloatTest::isfinite, x); }

}  // namespace nervure::ops
