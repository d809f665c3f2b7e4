// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/optim.h"

#include <array>
#include <cmath>
#include <utility>

#include "core/launch.h"
#include "core/row_gradient.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

using core::Ref;
using core::Storage;
using core::TensorBody;
using kernels::Segment;
using kernels::Segments;
using kernels::UpdateScalars;

constexpr std::int64_t kStepWork = 4;  // per element, in units of launch()

/// One list of state tensors; `used` says whether the options need it.
struct StateList {
  const char* name;
  const std::vector<Tensor>& tensors;
  bool used;
};

/// What a step runs over. A thunk keeps `table`, which holds the segments, by value.
struct StepList {
  Ref<Storage> table;
  Segments segments{nullptr, 0, 0};
  std::vector<Tensor> gradients;  // kept: another thread may clear those of the parameters meanwhile

  explicit StepList(std::size_t capacity) {
    if (capacity == 0) return;
    table = Storage::allocate(capacity * sizeof(Segment));
    segments.segment = static_cast<const Segment*>(table->data());
  }

  void append(float* parameter, float* gradient, const std::array<float*, 3>& state, std::int64_t size) {
    if (size == 0) return;
    const std::int64_t align = kernels::kSegmentAlign, begin = (segments.total + align - 1) / align * align;
    static_cast<Segment*>(table->data())[segments.count++] = {
        parameter, gradient, {state[0], state[1], state[2]}, begin, size};
    segments.total = begin + size;
  }
};

void check_parameter(const char* op, std::size_t i, const Tensor& p) {
  NV_CHECK(p.defined(), op, "parameter ", i, " is undefined");
  NV_CHECK_TYPE(p.dtype() == DType::float32, op, "parameter ", i, " must be float32, got ", p.dtype());
}

/// The gradients, checked; undefined where there is none.
std::vector<Tensor> gradients_of(const char* op, const std::vector<Tensor>& parameters) {
  for (std::size_t i = 0; i < parameters.size(); ++i) check_parameter(op, i, parameters[i]);
  std::vector<Tensor> gradients = core::gradients_as_they_are(parameters);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor &p = parameters[i], &g = gradients[i];
    if (!g) continue;
    NV_CHECK(g.shape() == p.shape(), op, "the gradient of parameter ", i, " must have its shape ", p.shape(), ", got ",
             g.shape());
    NV_CHECK_TYPE(g.dtype() == DType::float32, op, "the gradient of parameter ", i, " must be float32, got ",
                  g.dtype());
  }
  return gradients;
}

void check_state(const char* op, const StateList& list, const std::vector<Tensor>& parameters) {
  const std::size_t expected = list.used ? parameters.size() : 0;
  NV_CHECK(list.tensors.size() == expected, op, list.name, " must have ", expected, " tensors, got ",
           list.tensors.size());
  for (std::size_t i = 0; i < expected; ++i) {
    const Tensor& state = list.tensors[i];
    NV_CHECK(state.defined() && state.same_layout_as(parameters[i]), op, list.name, "[", i,
             "] must have the shape and memory order of its parameter ", parameters[i].shape());
    NV_CHECK_TYPE(state.dtype() == DType::float32, op, list.name, "[", i, "] must be float32, got ", state.dtype());
  }
}

/// Whether a step would write elements of the gradient that it has not read yet; only NumPy arrays overlap like that.
bool is_moved_view(const Tensor& gradient, const Tensor& p) {
  return (gradient.body()->storage->is_borrowed() || p.body()->storage->is_borrowed()) && gradient.data() != p.data() &&
         core::share_memory(gradient, p);
}

enum class RowSparse : std::uint8_t { lazy, refused };

/// The segments that a gradient takes: one for each row of a row-sparse one.
std::size_t segments_of(const char* op, std::size_t i, const Tensor& gradient, RowSparse row_sparse) {
  const core::RowGradient* const sparse = core::rows_of(gradient);
  if (!sparse) return gradient ? 1 : 0;
  NV_CHECK(row_sparse == RowSparse::lazy, op, "parameter ", i,
           " has a row-sparse gradient, which this optimiser does not take: use Embedding(..., sparse=False)");
  return static_cast<std::size_t>(sparse->rows.numel());
}

/// The touched rows of a parameter alone, with their state.
void append_rows(StepList& list, const core::RowGradient& sparse, float* parameter,
                 const std::array<float*, 3>& state) {
  const std::int64_t rows = sparse.rows.numel(), size = rows > 0 ? sparse.values.numel() / rows : 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t at = sparse.rows.i64()[i] * size;
    std::array<float*, 3> row_state{};
    for (std::size_t k = 0; k < 3; ++k)
      if (state[k]) row_state[k] = state[k] + at;
    list.append(parameter + at, sparse.values.f32_out() + i * size, row_state, size);
  }
}

/// Check everything, then lay out the parameters that have a gradient.
StepList collect(const char* op, const std::vector<Tensor>& parameters, const std::array<StateList, 3>& states,
                 RowSparse row_sparse = RowSparse::lazy) {
  std::vector<Tensor> gradients = gradients_of(op, parameters);
  std::size_t capacity = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) capacity += segments_of(op, i, gradients[i], row_sparse);
  for (const StateList& list : states) check_state(op, list, parameters);

  StepList list(capacity);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const TensorBody& p = *parameters[i].body();
    if (!gradients[i]) continue;
    Tensor gradient = std::move(gradients[i]);
    core::writes_into(parameters[i]);
    std::array<float*, 3> state{};
    for (std::size_t k = 0; k < 3; ++k)
      if (states[k].used) {
        core::writes_into(states[k].tensors[i]);
        state[k] = states[k].tensors[i].f32_out();
      }
    if (const core::RowGradient* const sparse = core::rows_of(gradient)) {
      append_rows(list, *sparse, static_cast<float*>(p.storage->data()), state);
      list.gradients.push_back(std::move(gradient));
      continue;
    }
    if (!core::same_layout(p.shape, gradient.order(), p.order)) [[unlikely]] {
      core::NoGrad no_grad;
      gradient = to_order(gradient, p.order);
    }
    if (is_moved_view(gradient, parameters[i])) [[unlikely]] {
      core::NoGrad no_grad;
      gradient = clone(gradient);
    }
    list.append(static_cast<float*>(p.storage->data()), gradient.f32_out(), state, p.shape.numel());
    list.gradients.push_back(std::move(gradient));
  }
  return list;
}

const std::vector<Tensor> kNoTensors;
const StateList kNoState{"", kNoTensors, false};

/// Launch kernel(segments, &scalars).
template <class Kernel, class Scalars>
void launch_step(const StepList& list, const Kernel& kernel, const Scalars& scalars) {
  if (list.segments.count == 0) return;
  core::launch(kStepWork * list.segments.total,
               [&kernel, table = list.table, segments = list.segments, scalars] { kernel(segments, &scalars); });
}

float f32(double x) { return static_cast<float>(x); }

template <class Options>
UpdateScalars update_scalars(const char* op, const Options& o, bool decoupled = false) {
  NV_CHECK(o.clip_value >= 0, op, "clip_value must not be negative, got ", o.clip_value);
  return {f32(o.clip_value), o.maximize ? -1.0f : 1.0f, f32(decoupled ? 0.0 : o.weight_decay),
          f32(decoupled ? 1.0 - o.lr * o.weight_decay : 1.0), f32(o.lr * o.l1)};
}

void check_step(const char* op, std::int64_t step) { NV_CHECK(step >= 1, op, "step counts from 1, got ", step); }

/// The gradients alone, for clipping.
StepList collect_gradients(const char* op, const std::vector<Tensor>& parameters) {
  StepList list(parameters.size());
  for (Tensor& gradient : gradients_of(op, parameters)) {
    if (!gradient) continue;
    const core::RowGradient* const sparse = core::rows_of(gradient);
    const Tensor& values = sparse ? sparse->values : gradient;
    core::writes_into(values);
    list.append(nullptr, values.f32_out(), {}, values.numel());
    list.gradients.push_back(std::move(gradient));
  }
  return list;
}

}  // namespace

void sgd_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& momentum_buffers, const SgdOptions& o) {
  NV_CHECK(!o.nesterov || (o.momentum > 0 && o.dampening == 0), "sgd_step",
           "nesterov needs a positive momentum and no dampening, got momentum = ", o.momentum,
           ", dampening = ", o.dampening);
  const StepList list =
      collect("sgd_step", parameters, {{{"momentum_buffers", momentum_buffers, o.momentum != 0}, kNoState, kNoState}});
  launch_step(list, kernels::sgd_step,
              kernels::SgdScalars{update_scalars("sgd_step", o), f32(o.lr), f32(o.momentum), f32(1.0 - o.dampening),
                                  o.nesterov, o.first_step});
}

void rmsprop_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& square_averages,
                  const std::vector<Tensor>& momentum_buffers, const std::vector<Tensor>& gradient_averages,
                  const RmspropOptions& o) {
  const StepList list = collect("rmsprop_step", parameters,
                                {{{"square_averages", square_averages, true},
                                  {"momentum_buffers", momentum_buffers, o.momentum > 0},
                                  {"gradient_averages", gradient_averages, o.centered}}});
  launch_step(list, kernels::rmsprop_step,
              kernels::RmspropScalars{update_scalars("rmsprop_step", o), f32(o.lr), f32(o.alpha), f32(1.0 - o.alpha),
                                      f32(o.eps), f32(o.momentum)});
}

void adagrad_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& square_sums,
                  const AdagradOptions& o) {
  check_step("adagrad_step", o.step);
  const StepList list = collect("adagrad_step", parameters, {{{"square_sums", square_sums, true}, kNoState, kNoState}});
  const double lr = o.lr / (1.0 + static_cast<double>(o.step - 1) * o.lr_decay);
  launch_step(list, kernels::adagrad_step,
              kernels::AdagradScalars{update_scalars("adagrad_step", o), f32(lr), f32(o.eps)});
}

void adam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& first_moments,
               const std::vector<Tensor>& second_moments, const std::vector<Tensor>& max_second_moments,
               const AdamOptions& o) {
  check_step("adam_step", o.step);
  const StepList list = collect("adam_step", parameters,
                                {{{"first_moments", first_moments, true},
                                  {"second_moments", second_moments, true},
                                  {"max_second_moments", max_second_moments, o.amsgrad}}});
  const auto t = static_cast<double>(o.step);
  const double correction1 = 1.0 - std::pow(o.beta1, t), correction2 = 1.0 - std::pow(o.beta2, t);
  launch_step(list, kernels::adam_step,
              kernels::AdamScalars{update_scalars("adam_step", o, o.decoupled_weight_decay), f32(o.beta1),
                                   f32(1.0 - o.beta1), f32(o.beta2), f32(1.0 - o.beta2), f32(o.eps),
                                   f32(1.0 / std::sqrt(correction2)), f32(o.lr / correction1), 0.0f});
}

void nadam_step(const std::vector<Tensor>& parameters, const std::vector<Tensor>& first_moments,
                const std::vector<Tensor>& second_moments, const NadamOptions& o) {
  check_step("nadam_step", o.step);
  const StepList list =
      collect("nadam_step", parameters,
              {{{"first_moments", first_moments, true}, {"second_moments", second_moments, true}, kNoState}},
              RowSparse::refused);
  const auto t = static_cast<double>(o.step);
  const double correction2 = 1.0 - std::pow(o.beta2, t);
  const double mu = o.beta1 * (1.0 - 0.5 * std::pow(0.96, t * o.momentum_decay));
  const double mu_next = o.beta1 * (1.0 - 0.5 * std::pow(0.96, (t + 1.0) * o.momentum_decay));
  const double product = o.mu_product * mu;
  launch_step(
      list, kernels::nadam_step,
      kernels::AdamScalars{update_scalars("nadam_step", o, o.decoupled_weight_decay), f32(o.beta1), f32(1.0 - o.beta1),
                           f32(o.beta2), f32(1.0 - o.beta2), f32(o.eps), f32(1.0 / std::sqrt(correction2)),
                           f32(o.lr * mu_next / (1.0 - product * mu_next)), f32(o.lr * (1.0 - mu) / (1.0 - product))});
}

double clip_grad_norm_(const std::vector<Tensor>& parameters, double max_norm, double norm_type,
                       bool error_if_nonfinite) {
  NV_CHECK(norm_type > 0, "clip_grad_norm_", "norm_type must be positive, got ", norm_type);
  NV_CHECK(max_norm >= 0, "clip_grad_norm_", "max_norm must not be negative, got ", max_norm);
  const StepList list = collect_gradients("clip_grad_norm_", parameters);
  if (list.segments.count == 0) return 0.0;
  const Ref<Storage> result = Storage::allocate(sizeof(double));
  auto* const norm = static_cast<double*>(result->data());
  const std::int64_t work = 2 * list.segments.total;
  core::launch(work, [table = list.table, segments = list.segments, result, norm, norm_type] {
    kernels::gradient_norm(segments, norm_type, norm);
  });
  NV_CHECK(!error_if_nonfinite || std::isfinite(*norm), "clip_grad_norm_", "the norm of the gradients is ", *norm,
           ": they cannot be clipped");
  core::launch(work, [table = list.table, segments = list.segments, result, norm, max_norm] {
    kernels::clip_by_norm(segments, max_norm, norm);
  });
  return *norm;
}

void clip_grad_value_(const std::vector<Tensor>& parameters, double clip_value) {
  NV_CHECK(clip_value >= 0, "clip_grad_value_", "clip_value must not be negative, got ", clip_value);
  const StepList list = collect_gradients("clip_grad_value_", parameters);
  if (list.segments.count == 0) return;
  core::launch(2 * list.segments.total, [table = list.table, segments = list.segments, limit = f32(clip_value)] {
    kernels::clip_by_value(segments, limit);
  });
}

}  // namespace nervure::ops
