// SPDX-License-Identifier: BSD-3-Clause
#include "ops/recurrent.h"

#include <algorithm>
#include <numeric>

#include "core/launch.h"

namespace nervure::ops {
namespace {

const Order kStepByStep{1, 0, 2};

/// active, offset and row, one after the other.
Tensor number_rows(const Tensor& lengths, std::int64_t batch, std::int64_t steps) {
  const Tensor numbers = Tensor::empty(Shape{2 * (steps + 1) + batch}, DType::int64);
  std::int64_t *active = numbers.i64_out(), *offset = active + steps + 1, *row = offset + steps + 1;
  std::iota(row, row + batch, std::int64_t{0});
  if (!lengths) {
    std::fill(active, active + steps, batch);
  } else {
    const std::int64_t* length = lengths.i64();
    std::stable_sort(row, row + batch, [length](std::int64_t a, std::int64_t b) { return length[a] > length[b]; });
    std::int64_t running = batch;
    for (std::int64_t t = 0; t < steps; ++t) {
      while (running > 0 && length[row[running - 1]] <= t) --running;
      active[t] = running;
    }
  }
  active[steps] = 0;
  offset[0] = 0;
  for (std::int64_t t = 0; t < steps; ++t) offset[t + 1] = offset[t] + active[t];
  return numbers;
}

bool lies_step_by_step(const Tensor& x) { return core::same_layout(x.shape(), x.order(), kStepByStep); }

struct Steps {
  std::int64_t row, time;
};
Steps steps_of(const Tensor& x) {
  const std::int64_t width = x.size(2);
  return lies_step_by_step(x) ? Steps{width, width * x.size(0)} : Steps{width * x.size(1), width};
}

void check_bias(const char* op, const char* name, const Tensor& bias, std::int64_t size) {
  if (!bias) return;
  core::check_dtype(op, name, bias, DType::float32);
  NV_CHECK(bias.rank() == 1 && bias.size(0) == size, op, name, " must be (", size, "), got ", bias.shape());
}

Tensor matrix_of(const char* op, const char* name, const Tensor& weight, std::int64_t rows, std::int64_t columns) {
  NV_CHECK(weight.defined(), op, name, " must be given");
  core::check_dtype(op, name, weight, DType::float32);
  NV_CHECK(weight.shape() == (Shape{rows, columns}), op, name, " must be (", rows, ", ", columns, "), got ",
           weight.shape());
  return to_order(weight, {1, 0});
}

}  // namespace

void check_lengths(const char* op, const Tensor& lengths, std::int64_t batch, std::int64_t steps) {
  core::check_dtype(op, "lengths", lengths, DType::int64);
  NV_CHECK(lengths.rank() == 1 && lengths.size(0) == batch, op, "lengths must be (batch) with batch = ", batch,
           ", got ", lengths.shape());
  for (std::int64_t b = 0; b < batch; ++b)
    NV_CHECK(lengths.i64()[b] >= 0 && lengths.i64()[b] <= steps, op, "lengths must be in [0, ", steps, "], got ",
             lengths.i64()[b], " for row ", b);
}

kernels::Sequence SequenceBatch::direction(std::int64_t d) const {
  kernels::Sequence one = sequence;
  one.reverse = d == 1;
  return one;
}

void LayerWeights::detach() {
  for (Tensor& tensor : tensors)
    if (tensor) tensor = tensor.detach();
}

std::vector<Tensor> read_again(const SequenceBatch& batch, const LayerWeights& weights) {
  std::vector<Tensor> read = weights.tensors;
  read.push_back(batch.packed);
  return read;
}

WeightGradients::WeightGradients(const LayerWeights& weights, std::int64_t d, int first_input, const core::Gradients& g)
    : first_(first_input + static_cast<int>(d * weights.per_direction)) {
  for (int i = 0; i < weights.per_direction; ++i)
    tensors_.push_back(g.wants(first_ + i) ? Tensor::empty_like(weights.at(d, i)) : Tensor());
}

void WeightGradients::set(core::Gradients& g, bool shares_bias) const {
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if (tensors_[i])
      g.set(first_ + static_cast<int>(i), i == 3 && shares_bias && tensors_[2] ? clone(tensors_[2]) : tensors_[i]);
}

SequenceBatch sequence_batch(const char* op, const Tensor& input, const Tensor& lengths) {
  NV_CHECK(input.rank() == 3, op, "input must be (batch, steps, features), got ", input.shape());
  SequenceBatch s;
  s.x = input.dtype() == DType::float32 ? input : cast(input, DType::float32);
  if (!lies_step_by_step(s.x)) s.x = row_major(s.x);
  s.batch = s.x.size(0);
  s.steps = s.x.size(1);
  s.input = s.x.size(2);
  s.step_by_step = lies_step_by_step(s.x) && !s.x.is_row_major();
  if (lengths) check_lengths(op, lengths, s.batch, s.steps);
  std::int64_t longest = s.steps;
  if (lengths) longest = s.batch == 0 ? 0 : *std::max_element(lengths.i64(), lengths.i64() + s.batch);
  s.numbers = number_rows(lengths, s.batch, longest);
  const std::int64_t* active = s.numbers.i64();
  const std::int64_t *offset = active + longest + 1, *row = offset + longest + 1;
  s.sequence = {s.batch, longest, offset[longest], active, offset, row, false};
  const bool whole = s.sequence.total == s.batch * s.steps;
  if (whole && lies_step_by_step(s.x)) {
    s.packed = s.x.detach();
    return s;
  }
  s.packed = Tensor::empty({s.sequence.total, s.input});
  const Steps steps = steps_of(s.x);
  core::launch(s.packed.numel(),
               [sequence = s.sequence, x = s.x.f32(), steps, width = s.input, packed = s.packed.f32_out()] {
                 kernels::gather_steps(sequence, {x, steps.row, steps.time}, width, packed);
               });
  return s;
}

Tensor steps_tensor(const SequenceBatch& s, std::int64_t width) {
  const Shape shape{s.batch, s.steps, width};
  return s.step_by_step ? Tensor::empty(shape, DType::float32, kStepByStep) : Tensor::empty(shape);
}

kernels::StepsOut steps_out(const Tensor& y, std::int64_t d, std::int64_t directions) {
  const Steps steps = steps_of(y);
  return {y.f32_out() + d * (y.size(2) / directions), steps.row, steps.time};
}

kernels::StepsIn steps_in(Tensor& dy, std::int64_t d, std::int64_t directions) {
  if (!dy) return {nullptr, 0, 0};
  if (!lies_step_by_step(dy)) dy = row_major(dy);
  const kernels::StepsOut steps = steps_out(dy, d, directions);
  return {steps.data, steps.row_step, steps.time_step};
}

void clear_padding(const SequenceBatch& s, const Tensor& y) {
  if (s.sequence.total == s.batch * s.steps) return;
  const Steps steps = steps_of(y);
  core::launch(y.numel(), [sequence = s.sequence, y = y.f32_out(), steps, width = y.size(2), all = s.steps] {
    kernels::clear_padding(sequence, width, all, {y, steps.row, steps.time});
  });
}

Tensor unpacked(const SequenceBatch& s, const Tensor& packed) {
  if (s.packed.rank() == 3) return packed.view_as(s.packed.shape(), s.packed.order());
  const Tensor x = steps_tensor(s, s.input);
  const Steps steps = steps_of(x);
  core::launch(x.numel(),
               [sequence = s.sequence, packed = packed.f32(), steps, width = s.input, all = s.steps, x = x.f32_out()] {
                 kernels::scatter_steps(sequence, packed, width, all, {x, steps.row, steps.time});
               });
  return x;
}

LayerWeights layer_weights(const char* op, const std::vector<Tensor>& weights, std::int64_t per_direction,
                           std::int64_t gates, std::int64_t input, int projection) {
  const auto count = static_cast<std::int64_t>(weights.size());
  NV_CHECK(count == per_direction || count == 2 * per_direction, op, "weights must be ", per_direction,
           " for each of one or two directions, got ", count);
  LayerWeights layer{weights, count / per_direction, per_direction, 0};
  NV_CHECK(layer.at(0, 0).defined() && layer.at(0, 0).rank() == 2 && layer.at(0, 0).size(0) % gates == 0, op,
           "weight_ih must be (", gates, " hidden, input)");
  const std::int64_t rows = layer.at(0, 0).size(0), hidden = rows / gates;
  layer.hidden = hidden;
  for (std::int64_t d = 0; d < layer.directions; ++d) {
    Tensor* const w = layer.tensors.data() + d * per_direction;
    const Tensor projected = projection < 0 ? Tensor() : w[projection];
    NV_CHECK(!projected || projected.rank() == 2, op, "weight_hr must be (output, hidden), got ", projected.shape());
    NV_CHECK(d == 0 || projected.defined() == layer.at(0, projection < 0 ? 0 : projection).defined() || projection < 0,
             op, "weight_hr must be given for both directions or none");
    const std::int64_t output = projected ? projected.size(0) : hidden;
    NV_CHECK(d == 0 || !projected || output == layer.at(0, projection).size(0), op,
             "weight_hr must have the same shape for both directions, got ", layer.at(0, projection).shape(), " and ",
             projected.shape());
    w[0] = matrix_of(op, "weight_ih", w[0], rows, input);
    w[1] = matrix_of(op, "weight_hh", w[1], rows, output);
    check_bias(op, "bias_ih", w[2], rows);
    check_bias(op, "bias_hh", w[3], rows);
    if (projected) w[projection] = matrix_of(op, "weight_hr", projected, output, hidden);
  }
  return layer;
}

Tensor initial_state(const char* op, const char* name, const Tensor& state, std::int64_t directions, std::int64_t batch,
                     std::int64_t width) {
  if (!state) return state;
  core::check_dtype(op, name, state, DType::float32);
  NV_CHECK(state.shape() == (Shape{directions, batch, width}), op, name, " must be ", (Shape{directions, batch, width}),
           ", got ", state.shape());
  return row_major(state);
}

}  // namespace nervure::ops
