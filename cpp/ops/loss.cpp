// SPDX-License-Identifier: BSD-3-Clause
// Losses that compare two tensors element by element. Targets have gradients too; weights are constants.
#include "kernels/loss.h"

#include "core/launch.h"
#include "ops/reduction.h"

namespace nervure::ops {
namespace {

using kernels::PointwiseInputs;
using kernels::PointwiseLoss;

/// A weight in the place of every element of x.
Tensor spread_weight(const char* op, const char* what, const Tensor& weight, const Tensor& x) {
  if (!weight) return weight;
  bool fits = weight.rank() <= x.rank();
  for (int i = 1; fits && i <= weight.rank(); ++i) {
    const std::int64_t size = weight.size(weight.rank() - i);
    fits = size == 1 || size == x.size(x.rank() - i);
  }
  NV_CHECK(fits, op, what, " must broadcast to the input's shape ", x.shape(), ", got ", weight.shape());
  core::NoGrad no_grad;
  const Tensor values = as_float(weight);
  return to_order(values.shape() == x.shape() ? values : expand(values, x.shape().to_vector()), x.order());
}

struct Pointwise {
  const char* op;
  PointwiseLoss kind;
  float parameter = 0.0f;
  Tensor weight, pos_weight;  // in the input's place, or undefined
};

PointwiseInputs inputs_of(const Pointwise& loss, const Tensor& x, const Tensor& target) {
  return {x.f32(), target.f32(), loss.weight ? loss.weight.f32() : nullptr,
          loss.pos_weight ? loss.pos_weight.f32() : nullptr, loss.parameter};
}

float divisor_of(Reduction reduction, const Tensor& x) {
  if (reduction == Reduction::mean) return static_cast<float>(x.numel());
  if (reduction == Reduction::batchmean) return static_cast<float>(x.rank() ? x.size(0) : 1);
  return 1.0f;
}

void check_same_shape(const char* op, const Tensor& input, const Tensor& target) {
  NV_CHECK(input.shape() == target.shape(), op, "input and target must have the same shape, got ", input.shape(),
           " and ", target.shape());
}

Tensor pointwise(const Pointwise& loss, const Tensor& x, const Tensor& any_target, Reduction reduction) {
  const Tensor target = to_order(as_float(any_target), x.order());
  const bool each = reduction == Reduction::none;
  const float divisor = divisor_of(reduction, x);
  const Tensor y = each ? Tensor::empty_like(x) : Tensor::empty(Shape{});
  const std::int64_t n = x.numel();
  core::launch(n, [=, kind = loss.kind, inputs = inputs_of(loss, x, target), y = y.f32_out()] {
    if (each)
      kernels::pointwise_loss_each(kind, inputs, n, y);
    else
      kernels::pointwise_loss_total(kind, inputs, n, divisor, y);
  });
  if (core::needs_grad(x, target))
    core::record(loss.op, y, {x, target}, core::saved(x.detach(), target.detach(), loss.weight, loss.pos_weight),
                 [loss, each, divisor, n](core::Gradients& g, const Tensor& x, const Tensor& target, const Tensor&,
                                          const Tensor&) {
                   const Tensor dy = each ? to_order(g.dy(), x.order()) : g.dy();
                   const Tensor dx = g.wants(0) ? Tensor::empty_like(x) : Tensor();
                   const Tensor dtarget = g.wants(1) ? Tensor::empty_like(target) : Tensor();
                   core::launch(n, [=, kind = loss.kind, inputs = inputs_of(loss, x, target), dy = dy.f32(),
                                    dx = dx ? dx.f32_out() : nullptr, dtarget = dtarget ? dtarget.f32_out() : nullptr] {
                     kernels::pointwise_loss_backward(kind, inputs, n, divisor, dy, each, dx, dtarget);
                   });
                   if (dx) g.set(0, dx);
                   if (dtarget) g.set(1, dtarget);
                 });
  return y;
}

Tensor difference_loss(const char* op, PointwiseLoss kind, const Tensor& input, const Tensor& target,
                       const std::string& reduction, double parameter = 0.0) {
  check_same_shape(op, input, target);
  return pointwise({op, kind, static_cast<float>(parameter), {}, {}}, as_float(input), target,
                   parse_reduction(op, reduction));
}

void check_unit_interval(const char* op, const char* what, const Tensor& x) {
  bool inside = true;
  core::launch(x.numel(), [&inside, x = x.f32(), n = x.numel()] { inside = kernels::in_unit_interval(x, n); });
  NV_CHECK(inside, op, what, " must lie between 0 and 1", "; for logits use binary_cross_entropy_with_logits");
}

}  // namespace

Reduction parse_reduction(const char* op, const std::string& name, bool allow_batchmean) {
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  if (name == "none") return Reduction::none;
  NV_CHECK(allow_batchmean && name == "batchmean", op, "reduction must be 'none', 'mean'",
           allow_batchmean ? ", 'batchmean'" : "", " or 'sum', got '", name, "'");
  return Reduction::batchmean;
}

Tensor as_float(const Tensor& x) { return x.dtype() == DType::float32 ? x : cast(x, DType::float32); }

Tensor mse_loss(const Tensor& input, const Tensor& target, const std::string& reduction) {
  return difference_loss("mse_loss", PointwiseLoss::mse, input, target, reduction);
}

Tensor l1_loss(const Tensor& input, const Tensor& target, const std::string& reduction) {
  return difference_loss("l1_loss", PointwiseLoss::l1, input, target, reduction);
}

Tensor huber_loss(const Tensor& input, const Tensor& target, double delta, const std::string& reduction) {
  NV_CHECK(delta > 0, "huber_loss", "delta must be positive, got ", delta);
  return difference_loss("huber_loss", PointwiseLoss::huber, input, target, reduction, delta);
}

Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, double beta, const std::string& reduction) {
  NV_CHECK(beta >= 0, "smooth_l1_loss", "beta must not be negative, got ", beta);
  const PointwiseLoss kind = static_cast<float>(beta) > 0 ? PointwiseLoss::smooth_l1 : PointwiseLoss::l1;
  return difference_loss("smooth_l1_loss", kind, input, target, reduction, beta);
}

Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, bool log_target, const std::string& reduction) {
  check_same_shape("kl_div", log_probabilities, target);
  const PointwiseLoss kind = log_target ? PointwiseLoss::kl_div_log_target : PointwiseLoss::kl_div;
  return pointwise({"kl_div", kind, 0.0f, {}, {}}, as_float(log_probabilities), target,
                   parse_reduction("kl_div", reduction, /*allow_batchmean=*/true));
}

Tensor binary_cross_entropy(const Tensor& probabilities, const Tensor& target, const Tensor& weight,
                            const std::string& reduction) {
  const char* op = "binary_cross_entropy";
  check_same_shape(op, probabilities, target);
  const Reduction parsed = parse_reduction(op, reduction);
  const Tensor x = as_float(probabilities), t = as_float(target);
  check_unit_interval(op, "probabilities", x);
  check_unit_interval(op, "target", t);
  return pointwise({op, PointwiseLoss::binary_cross_entropy, 0.0f, spread_weight(op, "weight", weight, x), {}}, x, t,
                   parsed);
}

Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                        const Tensor& pos_weight, const std::string& reduction) {
  const char* op = "binary_cross_entropy_with_logits";
  check_same_shape(op, input, target);
  const Tensor x = as_float(input);
  return pointwise({op, PointwiseLoss::binary_cross_entropy_with_logits, 0.0f, spread_weight(op, "weight", weight, x),
                    spread_weight(op, "pos_weight", pos_weight, x)},
                   x, target, parse_reduction(op, reduction));
}

}  // namespace nervure::ops
