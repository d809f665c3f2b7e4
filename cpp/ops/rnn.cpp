// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/rnn.h"

#include "core/launch.h"
#include "ops/recurrent.h"

namespace nervure::ops {
namespace {

constexpr std::int64_t kWeights = 4;

struct Saved {
  SequenceBatch batch;
  LayerWeights weights;
  Tensor h0, h;
  bool relu, keep;

  void detach() {
    batch.detach();
    weights.detach();
    if (h0) h0 = h0.detach();
  }
  std::int64_t state_rows() const { return keep ? batch.sequence.total + batch.batch : 2 * batch.batch; }
  std::int64_t work() const {
    return weights.directions * batch.sequence.total * weights.hidden * (batch.input + weights.hidden);
  }
};

kernels::RnnLayer layer_of(const Saved& s, std::int64_t d) {
  return {s.batch.direction(d), s.batch.input,
          s.weights.hidden,     s.relu,
          s.weights.data(d, 0), s.weights.data(d, 1),
          s.weights.data(d, 2), s.weights.data(d, 3),
          s.batch.packed.f32(), data_or_null(s.h0, d * s.batch.batch * s.weights.hidden)};
}

kernels::RnnSaved saved_of(const Saved& s, std::int64_t d) {
  return {s.h.f32_out() + d * s.state_rows() * s.weights.hidden, s.keep};
}

void backward(const Saved& s, core::Gradients& g) {
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, B = s.batch.batch;
  Tensor dy = g.dy(0);
  const Tensor dh_n = g.dy(1) ? row_major(g.dy(1)) : Tensor();
  const Tensor dx = g.wants(0) ? Tensor::empty({s.batch.sequence.total, s.batch.input}) : Tensor();
  const Tensor dh0 = Tensor::empty({D, B, H});
  for (std::int64_t d = 0; d < D; ++d) {
    const WeightGradients dw(s.weights, d, 2, g);
    const kernels::RnnGradients out{
        dx ? dx.f32_out() : nullptr, d > 0, dh0.f32_out() + d * B * H, dw.data(0), dw.data(1), dw.shared_bias(2, 3)};
    core::launch(2 * s.work(),
                 [layer = layer_of(s, d), saved = saved_of(s, d), dy = steps_in(s.batch, dy, d, D),
                  dh_n = data_or_null(dh_n, d * B * H), out] { kernels::rnn_backward(layer, saved, dy, dh_n, out); });
    dw.set(g, true);
  }
  if (g.wants(0)) g.set(0, unpacked(s.batch, dx));
  if (g.wants(1)) g.set(1, dh0);
}

}  // namespace

std::tuple<Tensor, Tensor> rnn(const Tensor& x, const Tensor& h0, const std::vector<Tensor>& weights,
                               const Tensor& lengths, const std::string& nonlinearity) {
  NV_CHECK(nonlinearity == "tanh" || nonlinearity == "relu", "rnn", "nonlinearity must be \"tanh\" or \"relu\", got \"",
           nonlinearity, "\"");
  Saved s{sequence_batch("rnn", x, lengths), {}, {}, {}, nonlinearity == "relu", false};
  s.weights = layer_weights("rnn", weights, kWeights, 1, s.batch.input);
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, B = s.batch.batch;
  s.h0 = initial_state("rnn", "h0", h0, D, B, H);
  std::vector<Tensor> inputs{s.batch.x, s.h0};
  inputs.insert(inputs.end(), s.weights.tensors.begin(), s.weights.tensors.end());
  s.keep = core::needs_grad(inputs);
  s.h = Tensor::empty({D, s.state_rows(), H});
  const Tensor y = steps_tensor(s.batch, D * H), h_n = Tensor::empty({D, B, H});
  for (std::int64_t d = 0; d < D; ++d)
    core::launch(s.work(), [layer = layer_of(s, d), saved = saved_of(s, d), y = steps_out(s.batch, y, d, D),
                            h_n = h_n.f32_out() + d * B * H] { kernels::rnn_forward(layer, saved, y, h_n); });
  clear_padding(s.batch, y);
  if (s.keep) {
    s.detach();
    std::vector<Tensor> read = read_again(s.batch, s.weights);
    read.push_back(s.h0);
    core::record("rnn", {y, h_n}, inputs, core::saved_list(read),
                 [s = std::move(s)](core::Gradients& g) { backward(s, g); });
  }
  return {y, h_n};
}

}  // namespace nervure::ops
