// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gru.h"

#include "core/launch.h"
#include "ops/recurrent.h"

namespace nervure::ops {
namespace {

constexpr std::int64_t kWeights = 4;

struct Saved {
  SequenceBatch batch;
  LayerWeights weights;
  Tensor h0, gates, h;
  bool reset_after, keep;

  void detach() {
    batch.detach();
    weights.detach();
    if (h0) h0 = h0.detach();
  }
  std::int64_t state_rows() const { return keep ? batch.sequence.total : 2 * batch.batch; }
  std::int64_t work() const {
    return weights.directions * batch.sequence.total * 3 * weights.hidden * (batch.input + weights.hidden);
  }
};

kernels::GruLayer layer_of(const Saved& s, std::int64_t d) {
  return {s.batch.direction(d), s.batch.input,
          s.weights.hidden,     s.reset_after,
          s.weights.data(d, 0), s.weights.data(d, 1),
          s.weights.data(d, 2), s.weights.data(d, 3),
          s.batch.packed.f32(), data_or_null(s.h0, d * s.batch.batch * s.weights.hidden)};
}

kernels::GruSaved saved_of(const Saved& s, std::int64_t d) {
  return {s.gates.f32_out() + d * s.batch.sequence.total * kernels::gate_stride(4 * s.weights.hidden),
          s.h.f32_out() + d * s.state_rows() * s.weights.hidden, s.keep};
}

void backward(const Saved& s, core::Gradients& g) {
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, B = s.batch.batch;
  Tensor dy = g.dy(0);
  const Tensor dh_n = g.dy(1) ? row_major(g.dy(1)) : Tensor();
  const Tensor dx = g.wants(0) ? Tensor::empty({s.batch.sequence.total, s.batch.input}) : Tensor();
  const Tensor dh0 = Tensor::empty({D, B, H});
  for (std::int64_t d = 0; d < D; ++d) {
    const WeightGradients dw(s.weights, d, 2, g);
    const Tensor spare = dw.shared_bias(2, 3) ? Tensor::empty({3 * H}) : Tensor();  // for the one that is not wanted
    float* const db_ih = spare && !dw.data(2) ? spare.f32_out() : dw.data(2);
    float* const db_hh = spare && !dw.data(3) ? spare.f32_out() : dw.data(3);
    const kernels::GruGradients out{
        dx ? dx.f32_out() : nullptr, d > 0, dh0.f32_out() + d * B * H, dw.data(0), dw.data(1), db_ih, db_hh};
    core::launch(2 * s.work(),
                 [layer = layer_of(s, d), saved = saved_of(s, d), dy = steps_in(dy, d, D),
                  dh_n = data_or_null(dh_n, d * B * H), out] { kernels::gru_backward(layer, saved, dy, dh_n, out); });
    dw.set(g, false);
  }
  if (g.wants(0)) g.set(0, unpacked(s.batch, dx));
  if (g.wants(1)) g.set(1, dh0);
}

}  // namespace

std::tuple<Tensor, Tensor> gru(const Tensor& x, const Tensor& h0, const std::vector<Tensor>& weights,
                               const Tensor& lengths, bool reset_after) {
  Saved s{sequence_batch("gru", x, lengths), {}, {}, {}, {}, reset_after, false};
  s.weights = layer_weights("gru", weights, kWeights, 3, s.batch.input);
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, B = s.batch.batch;
  s.h0 = initial_state("gru", "h0", h0, D, B, H);
  std::vector<Tensor> inputs{s.batch.x, s.h0};
  inputs.insert(inputs.end(), s.weights.tensors.begin(), s.weights.tensors.end());
  s.keep = core::needs_grad(inputs);
  s.gates = Tensor::empty({D, s.batch.sequence.total, kernels::gate_stride(4 * H)});
  s.h = Tensor::empty({D, s.state_rows(), H});
  const Tensor y = steps_tensor(s.batch, D * H), h_n = Tensor::empty({D, B, H});
  for (std::int64_t d = 0; d < D; ++d)
    core::launch(s.work(), [layer = layer_of(s, d), saved = saved_of(s, d), y = steps_out(y, d, D),
                            h_n = h_n.f32_out() + d * B * H] { kernels::gru_forward(layer, saved, y, h_n); });
  clear_padding(s.batch, y);
  if (s.keep) {
    s.detach();
    std::vector<Tensor> read = read_again(s.batch, s.weights);
    read.push_back(s.h0);
    core::record("gru", {y, h_n}, inputs, core::saved_list(read),
                 [s = std::move(s)](core::Gradients& g) { backward(s, g); });
  }
  return {y, h_n};
}

}  // namespace nervure::ops
