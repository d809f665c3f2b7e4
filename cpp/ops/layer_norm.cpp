// SPDX-License-Identifier: BSD-3-Clause
// Normalisation over the last dimensions: layer normalisation, and by the root of the mean square.
#include <limits>

#include "core/launch.h"
#include "kernels/row_norm.h"
#include "ops/images.h"

namespace nervure::ops {
namespace {

using kernels::RowNorm;

/// The order of the last `inner` dimensions of x by themselves if they lie together, innermost; else row-major.
Order inner_order(const Tensor& x, int inner) {
  const int outer = x.rank() - inner;
  Order order = Order::row_major(inner);
  for (int i = 0; i < inner; ++i) {
    const int dim = x.order()[outer + i];
    if (dim < outer) return Order::row_major(inner);
    order[i] = dim - outer;
  }
  return order;
}

/// The same for all of x: what lies outside keeps its places.
Order whole_order(const Tensor& x, int inner) {
  const int outer = x.rank() - inner;
  for (int i = 0; i < outer; ++i)
    if (x.order()[i] >= outer) return Order::row_major(x.rank());
  return x.order();
}

struct Layer {
  Tensor x, weight, bias;  // in the orders that the kernel reads
  Order parameter_order;
  Shape parameter_shape;
  std::int64_t rows, n;
  bool centered;

  RowNorm norm() const { return {rows, n, weight ? weight.f32() : nullptr, bias ? bias.f32() : nullptr, centered}; }
};

void check_parameter(const char* op, const char* what, const Tensor& p, const Shape& shape) {
  if (!p) return;
  core::check_dtype(op, what, p, DType::float32);
  NV_CHECK(p.shape() == shape, op, what, " must have normalized_shape ", shape, ", got ", p.shape());
}

Layer layer_of(const char* op, const Tensor& input, const Dims& normalized_shape, const Tensor& weight,
               const Tensor& bias) {
  const Shape shape(normalized_shape);
  const int inner = shape.rank(), outer = input.rank() - inner;
  NV_CHECK(inner >= 1, op, "normalized_shape must have at least one dimension");
  bool fits = outer >= 0;
  for (int i = 0; fits && i < inner; ++i) fits = input.size(outer + i) == shape[i];
  NV_CHECK(fits, op, "the last dimensions of the input must be normalized_shape ", shape, ", got ", input.shape());
  check_parameter(op, "weight", weight, shape);
  check_parameter(op, "bias", bias, shape);
  const Tensor x = as_float_in_order(input, whole_order(input, inner));
  const Order order = inner_order(x, inner);
  const auto parameter = [&](const Tensor& p) { return p ? as_float_in_order(p, order).detach() : Tensor(); };
  const std::int64_t n = shape.numel();
  return {x.detach(), parameter(weight), parameter(bias), order, shape, n ? x.numel() / n : 0, n, true};
}

void backward(const Layer& layer, const Tensor& statistics, core::Gradients& g) {
  const Tensor dy = to_order(g.dy(), layer.x.order());
  const auto parameter_gradient = [&](int input) {
    return g.wants(input) ? Tensor::empty(layer.parameter_shape, DType::float32, layer.parameter_order) : Tensor();
  };
  const Tensor dx = g.wants(0) ? Tensor::empty_like(layer.x) : Tensor();
  const Tensor dweight = parameter_gradient(1), dbias = layer.centered ? parameter_gradient(2) : Tensor();
  const auto out = [](const Tensor& t) { return t ? t.f32_out() : nullptr; };
  core::launch(8 * layer.x.numel(), [norm = layer.norm(), statistics = statistics.f32(), x = layer.x.f32(),
                                     dy = dy.f32(), dx = out(dx), dweight = out(dweight), dbias = out(dbias)] {
    if (norm.n > 0) kernels::row_norm_backward(norm, statistics, x, dy, dx, dweight, dbias);
  });
  if (dx) g.set(0, dx);
  if (dweight) g.set(1, dweight);
  if (dbias) g.set(2, dbias);
}

Tensor normalised(const char* op, const Tensor& input, const Tensor& weight, const Tensor& bias, const Layer& layer,
                  double eps) {
  const Tensor y = Tensor::empty(layer.x.shape(), DType::float32, layer.x.order());
  const Tensor statistics = Tensor::empty({layer.rows, layer.norm().statistics()});
  core::launch(8 * layer.x.numel(),
               [norm = layer.norm(), eps, x = layer.x.f32(), y = y.f32_out(), statistics = statistics.f32_out()] {
                 if (norm.n > 0) kernels::row_norm_forward(norm, eps, x, y, statistics);
               });
  if (core::needs_grad(input, weight, bias)) {
    const auto closure = [layer, statistics](core::Gradients& g) { backward(layer, statistics, g); };
    const auto saved = core::saved(layer.x, input.requires_grad() ? layer.weight : Tensor());
    if (layer.centered)
      core::record(op, y, {input, weight, bias}, saved, closure);
    else
      core::record(op, y, {input, weight}, saved, closure);
  }
  return y;
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, const Tensor& bias, double eps) {
  constexpr const char* op = "layer_norm";
  return normalised(op, x, weight, bias, layer_of(op, x, normalized_shape, weight, bias), eps);
}

Tensor rms_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight, std::optional<double> eps) {
  constexpr const char* op = "rms_norm";
  Layer layer = layer_of(op, x, normalized_shape, weight, {});
  layer.centered = false;
  constexpr auto kDefault = static_cast<double>(std::numeric_limits<float>::epsilon());
  return normalised(op, x, weight, {}, layer, eps.value_or(kDefault));
}

}  // namespace nervure::ops
