// SPDX-License-Identifier: BSD-3-Clause
// One step of a recurrent decoder with additive attention. The context c = Σ_j w_j m_j is never formed: what its
// columns of the weights make of it is Σ_j w_j (m_j W^T), whose terms are the same for all steps.
#include <cstring>

#include "core/launch.h"
#include "kernels/additive.h"
#include "kernels/recurrent_cell.h"
#include "ops/affine.h"
#include "ops/recurrent.h"

namespace nervure::ops {
namespace {

constexpr const char* kOp = "attentive_step";
constexpr std::int64_t kWeights = 4;  // of a layer

struct Layer {
  Affine input, recurrent;
};

/// Everything a step reads and writes, as pointers.
struct Step {
  std::int64_t batch, hidden, gates, joined_size;
  bool lstm;
  kernels::AdditiveAttention attention;
  Affine query, join;
  const float *x, *h, *c;
  float *q, *mixed, *sums, *recurrent;  // working memory: (batch, attention.size), (.., value_size), twice (.., gates)
  float *joined, *weights, *h_out, *c_out;

  std::int64_t state(std::size_t layer) const { return static_cast<std::int64_t>(layer) * batch * hidden; }
  void run(const std::vector<Layer>& layers) const;
  void run_layer(const Layer& layer, std::int64_t state, const float* input, const Affine::Rows& gates, bool add) const;
};

void Step::run_layer(const Layer& layer, std::int64_t state, const float* input, const Affine::Rows& sums,
                     bool add) const {
  layer.input.apply(batch, input, layer.input.in, sums, add);
  if (lstm) {
    layer.recurrent.apply(batch, h + state, hidden, sums, true);
    kernels::lstm_cell_step(batch, hidden, sums.data, sums.stride, c + state, c_out + state, h_out + state);
    return;
  }
  layer.recurrent.apply(batch, h + state, hidden, {recurrent, gates});
  kernels::gru_cell_step(batch, hidden, sums.data, sums.stride, recurrent, h + state, h_out + state);
}

void Step::run(const std::vector<Layer>& layers) const {
  const std::int64_t width = attention.value_size, top = state(layers.size() - 1);
  query.apply(batch, h + top, hidden, {q, attention.size});
  kernels::additive_attention(attention, weights, mixed);
  run_layer(layers[0], 0, x, {mixed, width}, true);
  for (std::size_t l = 1; l < layers.size(); ++l)
    run_layer(layers[l], state(l), h_out + state(l - 1), {sums, gates}, false);
  for (std::int64_t row = 0; row < batch; ++row)
    std::memcpy(joined + row * joined_size, mixed + row * width + gates,
                static_cast<std::size_t>(joined_size) * sizeof(float));
  join.apply(batch, h_out + top, hidden, {joined, joined_size}, true, kernels::Activation::tanh);
}

void check_rows(const char* name, const Tensor& x, const Shape& shape) {
  core::check_dtype(kOp, name, x, DType::float32);
  NV_CHECK(x.shape() == shape, kOp, name, " must be ", shape, ", got ", x.shape());
}

std::vector<Layer> layers_of(const std::vector<Tensor>& weights, std::int64_t gates, std::int64_t hidden,
                             std::int64_t input) {
  std::vector<Layer> layers;
  for (std::size_t i = 0; i < weights.size(); i += kWeights) {
    const Affine in = affine(kOp, "weight_ih", weights[i], weights[i + 2], gates, i == 0 ? -1 : hidden);
    NV_CHECK(in.in >= input || i > 0, kOp, "weight_ih must have columns for x (", input, ") and the context, got ",
             in.in);
    layers.push_back(
        {i == 0 ? in.inputs(0, input) : in, affine(kOp, "weight_hh", weights[i + 1], weights[i + 3], gates, hidden)});
  }
  return layers;
}

}  // namespace

Tensor attentive_memory(const Tensor& memory, const Tensor& weight_ih, const Tensor& join_weight) {
  constexpr const char* op = "attentive_memory";
  core::check_dtype(op, "memory", memory, DType::float32);
  NV_CHECK(memory.rank() == 3, op, "memory must be (B, S, M), got ", memory.shape());
  const std::int64_t rows = memory.size(0) * memory.size(1), size = memory.size(2);
  const Affine gates = affine(op, "weight_ih", weight_ih, {}, -1, -1),
               join = affine(op, "join", join_weight, {}, -1, -1);
  NV_CHECK(gates.in >= size && join.in >= size, op, "the weights must have ", size, " columns for the context, got ",
           gates.in, " and ", join.in);
  const Tensor m = row_major(memory.detach());
  const std::int64_t width = gates.out + join.out;
  const Tensor y = Tensor::empty({memory.size(0), memory.size(1), width});
  core::launch(rows * size * width, [=, m = m.f32(), y = y.f32_out()] {
    gates.inputs(gates.in - size, gates.in).apply(rows, m, size, {y, width});
    join.inputs(join.in - size, join.in).apply(rows, m, size, {y + gates.out, width});
  });
  return y;
}

std::vector<Tensor> attentive_step(const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& keys,
                                   const Tensor& values, const Tensor& lengths, const Tensor& query_weight,
                                   const Tensor& score_weight, const std::vector<Tensor>& weights,
                                   const Tensor& join_weight, const Tensor& join_bias) {
  core::check_dtype(kOp, "x", x, DType::float32);
  NV_CHECK(x.rank() == 2 && h.rank() == 3 && keys.rank() == 3 && values.rank() == 3, kOp,
           "expected x (B, E), h (layers, B, H), keys (B, S, A) and values (B, S, V), got ", x.shape(), ", ", h.shape(),
           ", ", keys.shape(), " and ", values.shape());
  const std::int64_t batch = x.size(0), count = h.size(0), hidden = h.size(2), steps = keys.size(1);
  const std::int64_t gates = (c ? 4 : 3) * hidden, size = keys.size(2), width = values.size(2);
  NV_CHECK(count >= 1 && static_cast<std::int64_t>(weights.size()) == kWeights * count, kOp, "weights must be ",
           kWeights, " for each of ", count, " layers, got ", weights.size());
  check_rows("h", h, {count, batch, hidden});
  if (c) check_rows("c", c, {count, batch, hidden});
  check_rows("keys", keys, {batch, steps, size});
  const Affine join = affine(kOp, "join", join_weight, join_bias, -1, -1);
  NV_CHECK(join.in >= hidden, kOp, "the join must have columns for h (", hidden, "), got ", join.in);
  check_rows("values", values, {batch, steps, gates + join.out});
  const Affine query = affine(kOp, "query_proj", query_weight, {}, size, hidden);
  const Affine score = affine(kOp, "score", score_weight, {}, 1, size);
  const std::vector<Layer> layers = layers_of(weights, gates, hidden, x.size(1));
  if (lengths) check_lengths(kOp, lengths, batch, steps);
  const Tensor rows[] = {row_major(x.detach()), row_major(h.detach()), c ? row_major(c.detach()) : c,
                         row_major(keys.detach()), row_major(values.detach())};
  const Tensor joined = Tensor::empty({batch, join.out}), attention = Tensor::empty({batch, steps});
  const Tensor h_out = Tensor::empty(h.shape()), c_out = c ? Tensor::empty(c.shape()) : c;
  const Tensor buffer = Tensor::empty({batch * (size + width + 2 * gates)});
  float *const q = buffer.f32_out(), *const mixed = q + batch * size, *const sums = mixed + batch * width;
  const Step step{
      batch,
      hidden,
      gates,
      join.out,
      c.defined(),
      {batch, steps, size, width, q, rows[3].f32(), score.weight, rows[4].f32(), lengths ? lengths.i64() : nullptr},
      query,
      join.inputs(0, hidden),
      rows[0].f32(),
      rows[1].f32(),
      c ? rows[2].f32() : nullptr,
      q,
      mixed,
      sums,
      sums + batch * gates,
      joined.f32_out(),
      attention.f32_out(),
      h_out.f32_out(),
      c ? c_out.f32_out() : nullptr};
  const std::int64_t work = batch * (hidden * (size + count * 2 * gates + join.out) + steps * (width + 16 * size));
  core::launch(work, [&] { step.run(layers); });
  if (c) return {joined, attention, h_out, c_out};
  return {joined, attention, h_out};
}

}  // namespace nervure::ops
