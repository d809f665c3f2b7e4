// SPDX-License-Identifier: BSD-3-Clause
// Results keep the memory order of the dimensions that remain.
#include "kernels/reduce.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/launch.h"
#include "kernels/extreme.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

using kernels::ReduceShape;

using DimMask = std::array<bool, core::kMaxRank>;

DimMask mask_of(const char* op, const Tensor& x, const Dims& dims) {
  DimMask reduced{};
  if (dims.empty()) reduced.fill(true);
  for (std::int64_t dim : dims) {
    bool& flag = reduced[static_cast<std::size_t>(core::normalize_dim(op, dim, x.rank()))];
    NV_CHECK(!flag, op, "dimension ", dim, " appears more than once");
    flag = true;
  }
  return reduced;
}

Tensor to_float(const Tensor& x) { return x.dtype() == DType::float32 ? x : cast(x, DType::float32); }

/// How x is reduced: one step for each run of reduced dimensions that lie next to each other in memory, last run first.
struct Plan {
  Shape shape;  // of the result
  Order order;
  std::int64_t count = 1;  // values behind each result
  std::array<ReduceShape, core::kMaxRank> steps{};
  int n_steps = 0;
};

/// The result's place: x's without the reduced dimensions, or with size 1 for them.
void place_result(Plan& plan, const Tensor& x, const DimMask& reduced, bool keepdim) {
  std::array<int, core::kMaxRank> new_dim{};
  for (int dim = 0; dim < x.rank(); ++dim) {
    const bool gone = reduced[static_cast<std::size_t>(dim)];
    if (gone) plan.count *= x.size(dim);
    new_dim[static_cast<std::size_t>(dim)] = plan.shape.rank();
    if (keepdim || !gone) plan.shape.append(gone ? 1 : x.size(dim));
  }
  plan.order = Order::row_major(plan.shape.rank());
  int position = 0;
  for (int i = 0; i < x.rank(); ++i) {
    const auto dim = static_cast<std::size_t>(x.order()[i]);
    if (keepdim || !reduced[dim]) plan.order[position++] = new_dim[dim];
  }
}

void find_steps(Plan& plan, const Tensor& x, const DimMask& reduced) {
  std::int64_t outer = x.numel(), inner = 1;
  if (outer == 0) {  // nothing to add up for any result
    plan.steps[0] = {plan.shape.numel(), 0, 1};
    plan.n_steps = 1;
    return;
  }
  for (int position = x.rank() - 1; position >= 0;) {
    std::int64_t run = 1;
    for (; position >= 0; --position) {
      const int dim = x.order()[position];
      if (x.size(dim) > 1 && !reduced[static_cast<std::size_t>(dim)]) break;
      run *= x.size(dim);
    }
    outer /= run;
    if (run > 1) plan.steps[static_cast<std::size_t>(plan.n_steps++)] = {outer, run, inner};
    for (; position >= 0; --position) {
      const int dim = x.order()[position];
      if (x.size(dim) > 1 && reduced[static_cast<std::size_t>(dim)]) break;
      inner *= x.size(dim);
      outer /= x.size(dim);
    }
  }
  if (plan.n_steps == 0) {  // nothing of size above 1 to reduce: one "row" of all values
    plan.steps[0] = {1, 1, x.numel()};
    plan.n_steps = 1;
  }
}

Plan plan_of(const Tensor& x, const DimMask& reduced, bool keepdim) {
  Plan plan;
  place_result(plan, x, reduced, keepdim);
  find_steps(plan, x, reduced);
  return plan;
}

/// x in an order in which the reduced dimensions lie together: its own, or one with them at the end.
Tensor with_one_step(const Tensor& x, const DimMask& reduced) {
  if (plan_of(x, reduced, true).n_steps == 1) return x;
  Order order = x.order();
  std::stable_partition(&order[0], &order[0] + x.rank(),
                        [&](int dim) { return !reduced[static_cast<std::size_t>(dim)]; });
  return to_order(x, order);
}

Tensor empty_result(const Plan& plan, DType dtype = DType::float32) {
  return Tensor::empty(plan.shape, dtype, plan.order);
}

Tensor empty_array(std::int64_t n) { return Tensor::empty(Shape{n}); }

// ---- sum, mean ---------------------------------------------------------------------------------------------------

void run_sum(const Plan& plan, const Tensor& x, float divisor, const Tensor& y) {
  Tensor from = x;
  for (int i = 0; i < plan.n_steps; ++i) {
    const ReduceShape step = plan.steps[static_cast<std::size_t>(i)];
    const bool last = i == plan.n_steps - 1;
    const Tensor to = last ? y : empty_array(step.outer * step.inner);
    const float step_divisor = last ? divisor : 1.0f;
    core::launch(step.outer * step.reduced * step.inner, [step, step_divisor, x = from.f32(), y = to.f32_out()] {
      kernels::reduce_sum(step, x, step_divisor, y);
    });
    from = to;
  }
}

void run_sum_backward(const Plan& plan, const Tensor& dy, float divisor, const Tensor& dx) {
  Tensor from = dy;
  for (int i = plan.n_steps - 1; i >= 0; --i) {
    const ReduceShape step = plan.steps[static_cast<std::size_t>(i)];
    const std::int64_t n = step.outer * step.reduced * step.inner;
    const Tensor to = i == 0 ? dx : empty_array(n);
    const float step_divisor = i == plan.n_steps - 1 ? divisor : 1.0f;
    core::launch(n, [step, step_divisor, dy = from.f32(), dx = to.f32_out()] {
      kernels::reduce_sum_backward(step, dy, step_divisor, dx);
    });
    from = to;
  }
}

Tensor sum_or_mean(const char* op, const Tensor& input, const Dims& dims, bool keepdim, bool is_mean) {
  const Tensor x = to_float(input);
  const Plan plan = plan_of(x, mask_of(op, x, dims), keepdim);
  const float divisor = is_mean ? static_cast<float>(plan.count) : 1.0f;
  const Tensor y = empty_result(plan);
  run_sum(plan, x, divisor, y);
  if (core::needs_grad(x))
    core::record(op, y, {x}, core::saved(), [plan, divisor, shape = x.shape(), order = x.order()](core::Gradients& g) {
      const Tensor dx = Tensor::empty(shape, DType::float32, order);
      run_sum_backward(plan, to_order(g.dy(), plan.order), divisor, dx);
      g.set(0, dx);
    });
  return y;
}

// ---- largest and smallest ------------------------------------------------------------------------------------------

void check_not_empty(const char* op, const Tensor& x, const Plan& plan) {
  NV_CHECK(plan.count > 0, op, "expected at least one value to choose from, got shape ", x.shape());
}

Tensor extreme(const char* op, const Tensor& input, const Dims& dims, bool keepdim, bool largest) {
  const DimMask reduced = mask_of(op, input, dims);
  const Tensor x = with_one_step(to_float(input), reduced);
  const Plan plan = plan_of(x, reduced, keepdim);
  check_not_empty(op, x, plan);
  const Tensor y = empty_result(plan);
  const ReduceShape shape = plan.steps[0];
  core::launch(x.numel(), [shape, largest, x = x.f32(), y = y.f32_out()] {
    kernels::reduce_extreme(shape, x, largest, y, nullptr);
  });
  if (core::needs_grad(x))
    core::record(
        op, y, {x}, core::saved(x.detach(), y.detach()), [shape](core::Gradients& g, const Tensor& x, const Tensor& y) {
          const Tensor dy = to_order(g.dy(), y.order()), count = empty_array(y.numel()), dx = Tensor::empty_like(x);
          core::launch(x.numel(),
                       [shape, x = x.f32(), y = y.f32(), count = count.f32_out(), dy = dy.f32(), dx = dx.f32_out()] {
                         kernels::reduce_count_equal(shape, x, y, count);
                         kernels::reduce_extreme_backward(shape, x, y, count, dy, dx);
                       });
          g.set(0, dx);
        });
  return y;
}

std::tuple<Tensor, Tensor> extreme_with_index(const char* op, const Tensor& input, std::int64_t dim, bool keepdim,
                                              bool largest) {
  const Tensor x = to_float(input);
  const Plan plan = plan_of(x, mask_of(op, x, {dim}), keepdim);
  check_not_empty(op, x, plan);
  const Tensor y = empty_result(plan), index = empty_result(plan, DType::int64);
  const ReduceShape shape = plan.steps[0];
  core::launch(x.numel(), [shape, largest, x = x.f32(), y = y.f32_out(), index = index.i64_out()] {
    kernels::reduce_extreme(shape, x, largest, y, index);
  });
  if (core::needs_grad(x))
    core::record(op, y, {x}, core::saved(index),
                 [shape, x_shape = x.shape(), x_order = x.order()](core::Gradients& g, const Tensor& index) {
                   const Tensor dy = to_order(g.dy(), index.order()),
                                dx = Tensor::empty(x_shape, DType::float32, x_order);
                   core::launch(dx.numel(), [shape, dy = dy.f32(), index = index.i64(), dx = dx.f32_out()] {
                     kernels::reduce_index_backward(shape, dy, index, dx);
                   });
                   g.set(0, dx);
                 });
  return {y, index};
}

Tensor extreme_index(const char* op, const Tensor& input, OptionalDim dim, bool keepdim, bool largest) {
  core::NoGrad no_grad;
  if (!dim) {  // counted in row-major order, whatever the memory order
    const Tensor x = row_major(input).view_as(Shape{input.numel()}, Order::row_major(1));
    const Tensor index = extreme_index(op, x, 0, false, largest);
    const Shape shape = Shape::filled(keepdim ? input.rank() : 0, 1);
    return index.view_as(shape, Order::row_major(shape.rank()));
  }
  const Tensor x = to_float(input);
  const Plan plan = plan_of(x, mask_of(op, x, {*dim}), keepdim);
  check_not_empty(op, input, plan);
  const Tensor index = empty_result(plan, DType::int64);
  core::launch(x.numel(), [shape = plan.steps[0], largest, x = x.f32(), index = index.i64_out()] {
    kernels::reduce_extreme(shape, x, largest, nullptr, index);
  });
  return index;
}

}  // namespace

Tensor sum(const Tensor& x, const Dims& dims, bool keepdim) { return sum_or_mean("sum", x, dims, keepdim, false); }
Tensor mean(const Tensor& x, const Dims& dims, bool keepdim) { return sum_or_mean("mean", x, dims, keepdim, true); }

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// How the variance was computed, for its gradient.
struct VarianceSteps {
  Tensor mean;
  ReduceShape shape;
  float freedom;  // count - correction, which may be 0 or negative
  bool of_all;    // no dimensions were named

  /// dx = factor dy (x - mean) / freedom. Without degrees of freedom the variance of all is infinite, and so is its
  /// slope (NaN at the mean); with dimensions the formula stands as it is (PyTorch).
  Tensor gradient(const Tensor& x, const Tensor& dy, float factor) const {
    if (of_all && freedom <= 0.0f) {
      const Tensor at_mean = eq(x, reshape(mean, {}));
      return mul(masked_fill(full(x.shape(), kInfinity, DType::float32), at_mean, std::nan("")), reshape(dy, {}));
    }
    const Tensor dx = Tensor::empty_like(x);
    core::launch(x.numel(), [shape = shape, scale = factor / freedom, x = x.f32(), mean = mean.f32(), dy = dy.f32(),
                             dx = dx.f32_out()] { kernels::reduce_var_backward(shape, x, mean, dy, scale, dx); });
    return dx;
  }
};

struct Variance {
  Tensor x, y;
  VarianceSteps steps;
};

/// Corrections beyond it are mistakes, and count - correction could not be computed.
constexpr std::int64_t kLargestCorrection = std::int64_t{1} << 53;

Variance variance_of(const char* op, const Tensor& input, const Dims& dims, bool keepdim, std::int64_t correction) {
  NV_CHECK(correction >= -kLargestCorrection && correction <= kLargestCorrection, op,
           "correction must lie between -2^53 and 2^53, got ", correction);
  const DimMask reduced = mask_of(op, input, dims);
  const Tensor x = with_one_step(to_float(input), reduced);
  const Plan plan = plan_of(x, reduced, keepdim);
  const auto count = static_cast<float>(plan.count);
  const auto freedom = static_cast<float>(plan.count - correction);
  const Tensor y = empty_result(plan), mean = empty_array(y.numel());
  core::launch(2 * x.numel(), [=, shape = plan.steps[0], x = x.f32(), mean = mean.f32_out(), y = y.f32_out()] {
    kernels::reduce_sum(shape, x, count, mean);
    kernels::reduce_squared_deviation(shape, x, mean, std::max(freedom, 0.0f), y);
  });
  return {x, y, {mean, plan.steps[0], freedom, dims.empty() || input.rank() == 0}};
}

/// Between these the squares that count are ordinary float32 numbers.
constexpr float kLeastVariance = 0x1p-90f, kLargestVariance = std::numeric_limits<float>::max();

bool squares_fit(const Tensor& variance) {
  return std::all_of(variance.f32(), variance.f32() + variance.numel(),
                     [](float v) { return v >= kLeastVariance && v <= kLargestVariance; });
}

/// The root of y = Σ deviation² / divisor; from deviations as parts of the largest one where y says nothing.
Tensor careful_root(const Tensor& deviation, const Dims& dims, float divisor, const Tensor& y) {
  const auto number = [](float value) { return Tensor::scalar(value); };
  const Tensor top = minimum(amax(abs(deviation), dims, true), number(std::numeric_limits<float>::max()));
  const Tensor largest = maximum(top, number(std::numeric_limits<float>::min()));
  const Tensor squares = sum(square(div(deviation, largest)), dims, true);
  const Tensor root = mul(largest, sqrt(div(squares, number(divisor))));
  const Tensor fits = logical_and(ge(y, number(kLeastVariance)), le(y, number(kLargestVariance)));
  return to_order(where(fits, sqrt(y), reshape(root, y.shape().to_vector())), y.order());
}

/// Records y, a root of the variance; its gradient is 0 where y is 0.
void record_root(const char* op, const Tensor& y, const Tensor& x, const VarianceSteps& steps) {
  if (!core::needs_grad(x)) return;
  core::record(op, y, {x}, core::saved(x.detach(), y.detach()),
               [steps](core::Gradients& g, const Tensor& x, const Tensor& y) {
                 const Tensor parts = div(to_order(g.dy(), y.order()), y);
                 const Tensor dy = masked_fill(parts, eq(y, Tensor::scalar(0.0f)), 0.0);
                 g.set(0, steps.gradient(x, to_order(dy, y.order()), 1.0f));
               });
}

}  // namespace

Tensor var(const Tensor& input, const Dims& dims, bool keepdim, std::int64_t correction) {
  const Variance v = variance_of("var", input, dims, keepdim, correction);
  if (core::needs_grad(v.x))
    core::record("var", v.y, {v.x}, core::saved(v.x.detach()),
                 [steps = v.steps, order = v.y.order()](core::Gradients& g, const Tensor& x) {
                   g.set(0, steps.gradient(x, to_order(g.dy(), order), 2.0f));
                 });
  return v.y;
}

Tensor standard_deviation(const Tensor& input, const Dims& dims, bool keepdim, std::int64_t correction) {
  constexpr const char* op = "standard_deviation";
  const Variance v = variance_of(op, input, dims, keepdim, correction);
  Tensor y;
  {
    const core::NoGrad no_grad;
    y = v.x.numel() == 0 || squares_fit(v.y)
            ? sqrt(v.y)
            : careful_root(sub(v.x, mean(v.x, dims, /*keepdim=*/true)), dims, std::max(v.steps.freedom, 0.0f), v.y);
  }
  record_root(op, y, v.x, v.steps);
  return y;
}

namespace {

/// The Euclidean norm: a standard deviation from 0 instead of the mean.
Tensor euclidean_norm(const Tensor& input, const Dims& dims, bool keepdim) {
  constexpr const char* op = "norm";
  const DimMask reduced = mask_of(op, input, dims);
  const Tensor x = with_one_step(to_float(input), reduced);
  const Plan plan = plan_of(x, reduced, keepdim);
  const Tensor squares = empty_result(plan), zero = full(Shape{squares.numel()}, 0.0, DType::float32);
  core::launch(x.numel(), [shape = plan.steps[0], x = x.f32(), zero = zero.f32(), y = squares.f32_out()] {
    kernels::reduce_squared_deviation(shape, x, zero, 1.0f, y);
  });
  Tensor y;
  {
    const core::NoGrad no_grad;
    y = x.numel() == 0 || squares_fit(squares) ? sqrt(squares) : careful_root(x.detach(), dims, 1.0f, squares);
  }
  record_root(op, y, x, VarianceSteps{zero, plan.steps[0], 1.0f, false});
  return y;
}

}  // namespace

Tensor norm(const Tensor& x, double p, const Dims& dims, bool keepdim) {
  if (p == 2.0) return euclidean_norm(x, dims, keepdim);
  if (p == 1.0) return sum(abs(x), dims, keepdim);
  NV_CHECK(p == std::numeric_limits<double>::infinity(), "norm", "p must be 1, 2 or infinity, got ", p);
  return amax(abs(x), dims, keepdim);
}

Tensor any(const Tensor& x, const Dims& dims, bool keepdim) {
  const core::NoGrad no_grad;
  mask_of("any", x, dims);  // names the operation in its errors
  const Tensor counts = x.dtype() == DType::boolean ? x : ne(x, Tensor::scalar(0.0f));
  return gt(sum(counts, dims, keepdim), Tensor::scalar(0.0f));
}

Tensor all(const Tensor& x, const Dims& dims, bool keepdim) {
  const core::NoGrad no_grad;
  mask_of("all", x, dims);
  return logical_not(any(eq(x, full(Shape{}, std::int64_t{0}, x.dtype())), dims, keepdim));
}

Tensor logsumexp(const Tensor& input, const Dims& dims, bool keepdim) {
  const DimMask reduced = mask_of("logsumexp", input, dims);
  const Tensor x = with_one_step(to_float(input), reduced);
  const Plan plan = plan_of(x, reduced, keepdim);
  if (plan.count == 0) return full(plan.shape, -std::numeric_limits<double>::infinity(), DType::float32);
  const ReduceShape shape = plan.steps[0];
  const Tensor y = empty_result(plan), max = empty_array(y.numel());
  core::launch(2 * x.numel(), [shape, x = x.f32(), max = max.f32_out(), y = y.f32_out()] {
    kernels::reduce_extreme(shape, x, true, max, nullptr);
    kernels::reduce_logsumexp(shape, x, max, y);
  });
  if (core::needs_grad(x))
    core::record("logsumexp", y, {x}, core::saved(x.detach(), y.detach()),
                 [shape](core::Gradients& g, const Tensor& x, const Tensor& y) {
                   const Tensor dy = to_order(g.dy(), y.order()), dx = Tensor::empty_like(x);
                   core::launch(x.numel(), [shape, x = x.f32(), y = y.f32(), dy = dy.f32(), dx = dx.f32_out()] {
                     kernels::reduce_logsumexp_backward(shape, x, y, dy, dx);
                   });
                   g.set(0, dx);
                 });
  return y;
}

Tensor amax(const Tensor& x, const Dims& dims, bool keepdim) { return extreme("amax", x, dims, keepdim, true); }
Tensor amin(const Tensor& x, const Dims& dims, bool keepdim) { return extreme("amin", x, dims, keepdim, false); }

std::tuple<Tensor, Tensor> max(const Tensor& x, std::int64_t dim, bool keepdim) {
  return extreme_with_index("max", x, dim, keepdim, true);
}
std::tuple<Tensor, Tensor> min(const Tensor& x, std::int64_t dim, bool keepdim) {
  return extreme_with_index("min", x, dim, keepdim, false);
}
Tensor argmax(const Tensor& x, OptionalDim dim, bool keepdim) { return extreme_index("argmax", x, dim, keepdim, true); }
Tensor argmin(const Tensor& x, OptionalDim dim, bool keepdim) {
  return extreme_index("argmin", x, dim, keepdim, false);
}

}  // namespace nervure::ops
