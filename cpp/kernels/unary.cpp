// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/unary.h"

#include "core/vmath.h"
#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

NV_INLINE vf abs_backward(vf dy, vf x) { return select(x > 0.0f, dy, select(x < 0.0f, -dy, vf{})); }
NV_INLINE vf clip_backward(vf dy, vf x, float low, float high) { return select((x >= low) & (x <= high), dy, vf{}); }
NV_INLINE vf elu_backward_from_input(vf dy, vf x, float alpha) {
  return select(x > 0.0f, dy, dy * (simd::NV_ISA::exp(min(vf{}, x)) * alpha));
}
NV_INLINE vf softplus_backward_from_input(vf dy, vf x, float beta, float threshold) {
  return select(x * beta > threshold, dy, dy * simd::NV_ISA::sigmoid(x * beta));
}

}  // namespace

void unary_forward(Unary op, const float* x, float* y, std::int64_t n, float p, float q) {
  auto run = [=](auto f) { map_parallel(f, n, y, x); };
  switch (op) {
    case Unary::neg:
      return run([](vf v) NV_INLINE_LAMBDA { return -v; });
    case Unary::abs:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::abs(v); });
    case Unary::exp:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::exp(v); });
    case Unary::log:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::log(v); });
    case Unary::sqrt:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::sqrt(v); });
    case Unary::square:
      return run([](vf v) NV_INLINE_LAMBDA { return v * v; });
    case Unary::reciprocal:
      return run([](vf v) NV_INLINE_LAMBDA { return 1.0f / v; });
    case Unary::sin:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::sin(v); });
    case Unary::cos:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::cos(v); });
    case Unary::relu:
      return run([](vf v) NV_INLINE_LAMBDA { return relu(v); });
    case Unary::leaky_relu:
      return run([=](vf v) NV_INLINE_LAMBDA { return leaky_relu(v, p); });
    case Unary::elu:
      return run([=](vf v) NV_INLINE_LAMBDA { return elu(v, p); });
    case Unary::gelu:
      return run([](vf v) NV_INLINE_LAMBDA { return gelu(v); });
    case Unary::gelu_tanh:
      return run([](vf v) NV_INLINE_LAMBDA { return gelu_tanh(v); });
    case Unary::silu:
      return run([](vf v) NV_INLINE_LAMBDA { return silu(v); });
    case Unary::tanh:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::tanh(v); });
    case Unary::sigmoid:
      return run([](vf v) NV_INLINE_LAMBDA { return simd::NV_ISA::sigmoid(v); });
    case Unary::softplus:
      return run([=](vf v) NV_INLINE_LAMBDA { return softplus(v, p, q); });
    case Unary::clip:
    case Unary::hardtanh:
      return run([=](vf v) NV_INLINE_LAMBDA { return hardtanh(v, p, q); });
  }
}

void unary_backward(Unary op, const float* dy, const float* saved, float* dx, std::int64_t n, float p, float q) {
  auto run = [=](auto f) { map_parallel(f, n, dx, dy, saved); };
  switch (op) {
    case Unary::neg:
      return map_parallel([](vf d) NV_INLINE_LAMBDA { return -d; }, n, dx, dy);
    case Unary::abs:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return abs_backward(d, x); });
    case Unary::exp:
      return run([](vf d, vf y) NV_INLINE_LAMBDA { return d * y; });
    case Unary::log:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return d / x; });
    case Unary::sqrt:
      return run([](vf d, vf y) NV_INLINE_LAMBDA { return d / (y + y); });
    case Unary::square:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return d * (x + x); });
    case Unary::reciprocal:
      return run([](vf d, vf y) NV_INLINE_LAMBDA { return -d * (y * y); });
    case Unary::sin:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return d * simd::NV_ISA::cos(x); });
    case Unary::cos:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return -d * simd::NV_ISA::sin(x); });
    case Unary::clip:
      return run([=](vf d, vf x) NV_INLINE_LAMBDA { return clip_backward(d, x, p, q); });
    case Unary::relu:
      return run([](vf d, vf y) NV_INLINE_LAMBDA { return relu_backward(d, y); });
    case Unary::leaky_relu:
      return run([=](vf d, vf x) NV_INLINE_LAMBDA { return leaky_relu_backward(d, x, p); });
    case Unary::elu:
      if (!saves_output(op, p))
        return run([=](vf d, vf x) NV_INLINE_LAMBDA { return elu_backward_from_input(d, x, p); });
      return run([=](vf d, vf y) NV_INLINE_LAMBDA { return elu_backward(d, y, p); });
    case Unary::gelu:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return gelu_backward(d, x); });
    case Unary::gelu_tanh:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return gelu_tanh_backward(d, x); });
    case Unary::silu:
      return run([](vf d, vf x) NV_INLINE_LAMBDA { return silu_backward(d, x); });
    case Unary::tanh:
      return run([](vf d, vf y) NV_INLINE_LAMBDA { return tanh_backward(d, y); });
    case Unary::sigmoid:
      return run([](vf d, vf y) NV_INLINE_LAMBDA { return sigmoid_backward(d, y); });
    case Unary::softplus:
      return run([=](vf d, vf x) NV_INLINE_LAMBDA { return softplus_backward_from_input(d, x, p, q); });
    case Unary::hardtanh:
      return run([=](vf d, vf x) NV_INLINE_LAMBDA { return hardtanh_backward(d, x, p, q); });
  }
}

}  // namespace nervure::kernels::NV_ISA
