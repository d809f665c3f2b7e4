// SPDX-License-Identifier: BSD-3-Clause
#include "ops/random.h"

#include <cmath>
#include <limits>

#include "core/launch.h"
#include "kernels/random.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

constexpr std::int64_t kUniformWork = 1, kNormalWork = 4, kQuantileWork = 16;  // per element, in units of launch()

void check_float(const char* op, const Tensor& x) { core::check_dtype(op, "x", x, DType::float32); }

/// Values representable in float32: kernels compute with them.
void check_range(const char* op, double low, double high) {
  NV_CHECK(low <= high, op, "low must not exceed high, got low = ", low, ", high = ", high);
  constexpr double largest = std::numeric_limits<float>::max();
  NV_CHECK(std::fabs(low) <= largest && std::fabs(high) <= largest && high - low <= largest, op,
           "low, high and high - low must be finite float32 numbers, got low = ", low, ", high = ", high);
}

void check_spread(const char* op, double mean, double std) {
  NV_CHECK(std::isfinite(mean), op, "mean must be finite, got ", mean);
  NV_CHECK(std >= 0 && std::isfinite(std), op, "std must be finite and not negative, got ", std);
}

/// P(Z < z) of a standard normal Z.
double normal_tail(double z) { return 0.5 * std::erfc(-z * 0.70710678118654752440); }

kernels::TruncatedNormal truncated_normal(double mean, double std, double low, double high) {
  const double z_low = (low - mean) / std, z_high = (high - mean) / std;
  const bool mirror = z_low > 0;  // tail probabilities near 0 keep the digits that those near 1 lose
  return {mean,
          std,
          low,
          high,
          mirror ? normal_tail(-z_high) : normal_tail(z_low),
          mirror ? normal_tail(-z_low) : normal_tail(z_high),
          mirror};
}

void draw_uniform(const Tensor& x, double low, double high) {
  const std::int64_t n = x.numel();
  const Tensor stream = random_stream(n);
  const auto from = static_cast<float>(low), to = static_cast<float>(high);
  const float largest = from == to ? from : std::nextafter(to, from);
  core::launch(n * kUniformWork, [=] { kernels::random_uniform(stream.i64(), from, to, largest, x.f32_out(), n); });
}

void draw_normal(const Tensor& x, double mean, double std) {
  const std::int64_t n = x.numel();
  const Tensor stream = random_stream(n);
  core::launch(n * kNormalWork, [=] {
    kernels::random_normal(stream.i64(), static_cast<float>(mean), static_cast<float>(std), x.f32_out(), n);
  });
}

}  // namespace

Tensor random_stream(std::int64_t count) {
  const core::RngStream reserved = core::reserve_random(count);
  Tensor stream = Tensor::empty(Shape{2}, DType::int64);
  stream.i64_out()[0] = static_cast<std::int64_t>(reserved.seed);
  stream.i64_out()[1] = static_cast<std::int64_t>(reserved.offset);
  return stream;
}

std::uint32_t probability_threshold(double probability) {
  const double threshold = std::round(probability * 0x1p32);
  return threshold >= 0x1p32 ? std::numeric_limits<std::uint32_t>::max() : static_cast<std::uint32_t>(threshold);
}

Tensor rand(const Shape& shape) {
  Tensor y = Tensor::empty(shape);
  draw_uniform(y, 0.0, 1.0);
  return y;
}

Tensor randn(const Shape& shape) {
  Tensor y = Tensor::empty(shape);
  draw_normal(y, 0.0, 1.0);
  return y;
}

Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape) {
  NV_CHECK(low < high, "randint", "low must be below high, got low = ", low, ", high = ", high);
  Tensor y = Tensor::empty(shape, DType::int64);
  const std::int64_t n = y.numel();
  const Tensor stream = random_stream(2 * n);
  const std::uint64_t range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  core::launch(n * kNormalWork, [=] { kernels::random_integers(stream.i64(), low, range, y.i64_out(), n); });
  return y;
}

Tensor randperm(std::int64_t n) {
  NV_CHECK(n >= 0, "randperm", "n must not be negative, got ", n);
  Tensor y = Tensor::empty(Shape{n}, DType::int64);
  const Tensor stream = random_stream(2 * n);
  core::launch(n * kQuantileWork, [=] { kernels::random_permutation(stream.i64(), y.i64_out(), n); });
  return y;
}

void uniform_(const Tensor& x, double low, double high) {
  check_float("uniform_", x);
  check_range("uniform_", low, high);
  core::writes_into(x);
  draw_uniform(x, low, high);
}

void normal_(const Tensor& x, double mean, double std) {
  check_float("normal_", x);
  check_spread("normal_", mean, std);
  core::writes_into(x);
  draw_normal(x, mean, std);
}

void trunc_normal_(const Tensor& x, double mean, double std, double low, double high) {
  check_float("trunc_normal_", x);
  check_spread("trunc_normal_", mean, std);
  NV_CHECK(std > 0, "trunc_normal_", "std must be positive, got ", std);
  check_range("trunc_normal_", low, high);
  const std::int64_t n = x.numel();
  const kernels::TruncatedNormal distribution = truncated_normal(mean, std, low, high);
  // Beyond 37 standard deviations no double holds the probability of the tail.
  NV_CHECK(distribution.p_high > 0, "trunc_normal_",
           "[low, high] must come within 37 std of the mean, got mean = ", mean, ", std = ", std, ", low = ", low,
           ", high = ", high);
  core::writes_into(x);
  const Tensor stream = random_stream(n);
  core::launch(n * kQuantileWork,
               [=] { kernels::random_truncated_normal(stream.i64(), distribution, x.f32_out(), n); });
}

void bernoulli_(const Tensor& x, double probability) {
  check_float("bernoulli_", x);
  NV_CHECK(probability >= 0 && probability <= 1, "bernoulli_", "probability must be in [0, 1], got ", probability);
  if (probability == 0 || probability == 1) return fill_(x, probability);
  core::writes_into(x);
  const std::int64_t n = x.numel();
  const Tensor stream = random_stream(n);
  const std::uint32_t threshold = probability_threshold(probability);
  core::launch(n * kUniformWork, [=] { kernels::random_bernoulli(stream.i64(), threshold, x.f32_out(), n); });
}

}  // namespace nervure::ops
