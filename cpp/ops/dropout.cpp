// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/dropout.h"

#include "core/launch.h"
#include "ops/ops.h"
#include "ops/random.h"

namespace nervure::ops {
namespace {

/// A new tensor: x with a share p of its elements dropped, which ones said by the stream.
Tensor drop(const Tensor& x, const Tensor& stream, double p) {
  Tensor y = Tensor::empty_like(x);
  if (p == 1) {
    fill_(y, 0.0);
    return y;
  }
  const std::int64_t n = x.numel();
  const std::uint32_t threshold = probability_threshold(p);
  const auto scale = static_cast<float>(1.0 / (1.0 - p));
  core::launch(2 * n, [=] { kernels::dropout(stream.i64(), threshold, scale, x.f32(), y.f32_out(), n); });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p) {
  NV_CHECK(p >= 0 && p <= 1, "dropout", "p must be in [0, 1], got ", p);
  core::check_dtype("dropout", "x", x, DType::float32);
  if (p == 0) return x;
  const Tensor stream = random_stream(x.numel());
  Tensor y = drop(x, stream, p);
  if (core::needs_grad(x)) {
    core::record("dropout", y, {x}, core::saved(), [stream, p, order = x.order()](core::Gradients& gradients) {
      gradients.set(0, drop(to_order(gradients.dy(), order), stream, p));
    });
  }
  return y;
}

Tensor dropout2d(const Tensor& x, double p) {
  NV_CHECK(p >= 0 && p <= 1, "dropout2d", "p must be in [0, 1], got ", p);
  core::check_dtype("dropout2d", "x", x, DType::float32);
  NV_CHECK(x.rank() == 3 || x.rank() == 4, "dropout2d", "input must be (N, C, H, W) or (N, C, L), got ", x.shape());
  if (p == 0) return x;
  Shape channels = x.shape();
  for (int i = 2; i < x.rank(); ++i) channels[i] = 1;
  Tensor mask;
  {
    const core::NoGrad no_grad;
    mask = dropout(full(channels, 1.0, DType::float32), p);
  }
  return mul(x, mask);
}

}  // namespace nervure::ops
