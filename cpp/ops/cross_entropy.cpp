// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/cross_entropy.h"

#include <utility>

#include "core/launch.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"
#include "ops/reduction.h"

namespace nervure::ops {
namespace {

using kernels::CrossEntropyOptions;
using kernels::CrossEntropyShape;
using kernels::NllShape;

/// What both losses over classes work on: (N, C, d1, ...), or (C) for one sample.
struct Classified {
  Tensor x;        // classes last in memory, or (nll_loss) row-major
  Tensor target;   // class indices row-major, or probabilities in x's order
  Tensor weight;   // (C) or undefined
  Tensor divisor;  // of "mean": 0-d; the sum of the targets' weights is filled in by the thunk
  std::int64_t rows, classes, ignore_index;
  float label_smoothing;
  Reduction reduction;

  CrossEntropyShape shape() const { return {rows, classes}; }
  CrossEntropyOptions options() const { return {weight ? weight.f32() : nullptr, ignore_index, label_smoothing}; }
  bool per_row() const { return reduction == Reduction::none; }
  bool has_probabilities() const { return target.dtype() == DType::float32; }
  float* divisor_out() const { return divisor ? divisor.f32_out() : nullptr; }
};

int class_dim(const Tensor& x) { return x.rank() == 1 ? 0 : 1; }

Shape without_classes(const Tensor& x) {
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (i != class_dim(x)) shape.append(x.size(i));
  return shape;
}

Tensor checked_weight(const char* op, const Tensor& weight, std::int64_t classes) {
  if (!weight) return weight;
  NV_CHECK(weight.shape() == Shape{classes}, op, "weight must be (C,) with C = ", classes, ", got ", weight.shape());
  return as_float(weight).detach();
}

void check_input(const char* op, const Tensor& input) {
  core::check_dtype(op, "input", input, DType::float32);
  NV_CHECK(input.rank() >= 1, op, "input must be (C,) or (N, C, ...), got ", input.shape());
  NV_CHECK(input.size(class_dim(input)) > 0, op, "input must have at least one class, got ", input.shape());
}

/// Every class index, before anything is written.
void check_indices(const char* op, const Classified& c) {
  std::int64_t bad = -1;
  core::launch(c.rows, [&bad, target = c.target.i64(), shape = c.shape(), ignore_index = c.ignore_index] {
    bad = kernels::find_invalid_target(target, shape, ignore_index);
  });
  NV_CHECK_INDEX(bad < 0, op, "target must be in [0, ", c.classes, ") or ignore_index = ", c.ignore_index, ", got ",
                 c.target.i64()[bad], " at row ", bad);
}

void set_index_target(const char* op, Classified& c, const Tensor& input, const Tensor& target) {
  const Shape expected = without_classes(input);
  NV_CHECK(target.shape() == expected, op, "target of class indices must be ", expected, " for an input of ",
           input.shape(), ", got ", target.shape());
  // Checked now and read again in backward: a copy that nobody else can change.
  c.target = row_major(target);
  if (c.target.data() == target.data()) c.target = clone(c.target);
  if (c.reduction == Reduction::mean) c.divisor = Tensor::empty(Shape{});
  check_indices(op, c);
}

Classified classify(const char* op, const Tensor& input, const Tensor& weight, std::int64_t ignore_index,
                    const std::string& reduction) {
  check_input(op, input);
  Classified c;
  c.classes = input.size(class_dim(input));
  c.rows = input.numel() / c.classes;
  c.ignore_index = ignore_index;
  c.label_smoothing = 0.0f;
  c.reduction = parse_reduction(op, reduction);
  c.weight = checked_weight(op, weight, c.classes);
  return c;
}

// ---- cross-entropy -------------------------------------------------------------------------------------------------

Classified classify_logits(const Tensor& input, const Tensor& target, const Tensor& weight, std::int64_t ignore_index,
                           double label_smoothing, const std::string& reduction) {
  const char* op = "cross_entropy";
  NV_CHECK(label_smoothing >= 0 && label_smoothing <= 1, op, "label_smoothing must be in [0, 1], got ",
           label_smoothing);
  Classified c = classify(op, input, weight, ignore_index, reduction);
  c.label_smoothing = static_cast<float>(label_smoothing);
  c.x = to_order(input, Order::channels_last(input.rank()));
  if (target.dtype() == DType::int64) {
    set_index_target(op, c, input, target);
    return c;
  }
  core::check_dtype(op, "target (int64 class indices or float32 probabilities)", target, DType::float32);
  NV_CHECK(target.shape() == input.shape(), op, "target of probabilities must have the input's shape ", input.shape(),
           ", got ", target.shape());
  NV_CHECK(ignore_index < 0, op, "ignore_index has no meaning for a target of probabilities, got ", ignore_index);
  c.target = to_order(target, c.x.order());
  if (c.reduction == Reduction::mean) c.divisor = Tensor::scalar(static_cast<float>(c.rows));
  return c;
}

/// The loss into y and its gradient for dy = 1 into dx; either may be undefined.
void run_cross_entropy(const Classified& c, const Tensor& y, const Tensor& dx) {
  const Tensor losses = y && c.per_row() ? y : Tensor::empty(Shape{c.rows});
  const bool probabilities = c.has_probabilities();
  core::launch(8 * c.x.numel(), [=, shape = c.shape(), options = c.options(), x = c.x.f32(), target = c.target.data(),
                                 divisor = c.divisor_out(), losses = losses.f32_out(),
                                 y = y && !c.per_row() ? y.f32_out() : nullptr, dx = dx ? dx.f32_out() : nullptr] {
    if (probabilities) {
      kernels::cross_entropy_probabilities_forward(shape, x, static_cast<const float*>(target), options, divisor,
                                                   losses, dx);
    } else {
      const auto* indices = static_cast<const std::int64_t*>(target);
      if (divisor) kernels::target_weight_sum(indices, shape.rows, options.weight, options.ignore_index, divisor);
      kernels::cross_entropy_forward(shape, x, indices, options, divisor, losses, dx);
    }
    if (y) kernels::sum_all(losses, shape.rows, divisor, y);
  });
}

/// dx *= dy, in place.
void scale_by(const Classified& c, const Tensor& dy, const Tensor& dx) {
  core::launch(c.x.numel(), [shape = c.shape(), per_row = c.per_row(), dy = dy.f32(), dx = dx.f32_out()] {
    kernels::cross_entropy_scale(shape, dy, per_row, dx);
  });
}

Tensor probabilities_gradient(const Classified& c, const Tensor& dy) {
  const Tensor dtarget = Tensor::empty_like(c.target);
  core::launch(8 * c.x.numel(), [shape = c.shape(), options = c.options(), per_row = c.per_row(), x = c.x.f32(),
                                 divisor = c.divisor_out(), dy = dy.f32(), dtarget = dtarget.f32_out()] {
    kernels::log_softmax_forward({shape.rows, shape.classes, 1}, x, dtarget);
    kernels::cross_entropy_probabilities_target_backward(shape, dtarget, options, divisor, dy, per_row, dtarget);
  });
  return dtarget;
}

// ---- negative log-likelihood ---------------------------------------------------------------------------------------

/// Rows of classes where they lie last in memory, else (N, C, d1 ...) row-major.
NllShape nll_shape(const Classified& c) {
  if (same_layout(c.x.shape(), c.x.order(), Order::channels_last(c.x.rank()))) return {c.rows, c.classes, 1};
  const std::int64_t outer = c.x.size(0);
  return {outer, c.classes, outer ? c.rows / outer : 1};
}

void run_nll(const Classified& c, const Tensor& y) {
  const Tensor losses = c.per_row() ? y : Tensor::empty(Shape{c.rows});
  core::launch(c.rows,
               [shape = nll_shape(c), rows = c.rows, options = c.options(), x = c.x.f32(), target = c.target.i64(),
                divisor = c.divisor_out(), losses = losses.f32_out(), y = c.per_row() ? nullptr : y.f32_out()] {
                 if (divisor) kernels::target_weight_sum(target, rows, options.weight, options.ignore_index, divisor);
                 kernels::nll_forward(shape, x, target, options, losses);
                 if (y) kernels::sum_all(losses, rows, divisor, y);
               });
}

}  // namespace

Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, std::int64_t ignore_index,
                     double label_smoothing, const std::string& reduction) {
  const Classified c = classify_logits(input, target, weight, ignore_index, label_smoothing, reduction);
  const Tensor y = Tensor::empty(c.per_row() ? without_classes(input) : Shape{});
  const bool record = core::needs_grad(c.x, c.target);
  Tensor dx = record && c.x.requires_grad() ? Tensor::empty_like(c.x) : Tensor();
  run_cross_entropy(c, y, dx);
  if (!record) return y;

  Classified saved = c;
  saved.x = c.x.detach();
  saved.target = c.target.detach();
  const auto backward = [read = core::saved_list({saved.x, saved.target, saved.weight}), c = std::move(saved),
                         dx = std::move(dx)](core::Gradients& g) mutable {
    const Tensor dy = row_major(g.dy());
    const auto check_unchanged = [&] {
      for (const auto& each : read) g.check_unchanged(each);
    };
    if (g.wants(0)) {
      // Scaled in place and given away: a second backward() through a retained graph computes it afresh.
      Tensor gradient = std::move(dx);
      if (!gradient) {
        check_unchanged();
        run_cross_entropy(c, Tensor(), gradient = Tensor::empty_like(c.x));
      }
      scale_by(c, dy, gradient);
      g.set(0, std::move(gradient));
    }
    if (c.has_probabilities() && g.wants(1)) {
      check_unchanged();
      g.set(1, probabilities_gradient(c, dy));
    }
  };
  // The first backward() finds the gradient of the logits done: what it reads of them is checked where it does.
  if (c.has_probabilities())
    core::record("cross_entropy", y, {c.x, c.target}, core::saved(), backward);
  else
    core::record("cross_entropy", y, {c.x}, core::saved(), backward);
  return y;
}

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, const Tensor& weight, std::int64_t ignore_index,
                const std::string& reduction) {
  const char* op = "nll_loss";
  Classified c = classify(op, log_probabilities, weight, ignore_index, reduction);
  const Order classes_last = Order::channels_last(log_probabilities.rank());
  const bool in_place = same_layout(log_probabilities.shape(), log_probabilities.order(), classes_last);
  c.x = in_place ? log_probabilities : row_major(log_probabilities);
  core::check_dtype(op, "target", target, DType::int64);
  set_index_target(op, c, log_probabilities, target);
  const Tensor y = Tensor::empty(c.per_row() ? without_classes(log_probabilities) : Shape{});
  run_nll(c, y);
  if (!core::needs_grad(c.x)) return y;

  const NllShape rows = nll_shape(c);
  const Tensor x = std::exchange(c.x, {});  // its values are not read again
  core::record(op, y, {x}, core::saved(c.weight), [c, rows, shape = x.shape(), order = x.order()](core::Gradients& g) {
    const Tensor dy = row_major(g.dy()), dx = Tensor::empty(shape, DType::float32, order);
    core::launch(dx.numel(), [rows, options = c.options(), target = c.target.i64(), divisor = c.divisor_out(),
                              per_row = c.per_row(), dy = dy.f32(), dx = dx.f32_out()] {
      kernels::nll_backward(rows, target, options, divisor, dy, per_row, dx);
    });
    g.set(0, dx);
  });
  return y;
}

}  // namespace nervure::ops
