// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/lstm.h"

#include "core/launch.h"
#include "ops/recurrent.h"

namespace nervure::ops {
namespace {

enum Weight : int {
  kInput,
  kRecurrent,
  kInputBias,
  kRecurrentBias,
  kProjection,
  kPeephole,
  kWeights,
  // Of a normalised layer only:
  kInputGain = kWeights,
  kRecurrentGain,
  kCellGain,
  kCellBias,
  kNormalisedWeights
};
constexpr int kFirstWeight = 3;  // among the inputs of the node: after x, h0 and c0

struct Saved {
  SequenceBatch batch;
  LayerWeights weights;
  std::int64_t output;
  Tensor h0, c0, mask, zoneout_h, zoneout_c;
  Tensor gates, h, c, h_raw, hidden, norm_ih, norm_hh, statistics;
  bool keep;

  void detach() {
    batch.detach();
    weights.detach();
    for (Tensor* state : {&h0, &c0})
      if (*state) *state = state->detach();
  }
  std::int64_t state_rows() const { return keep ? batch.sequence.total : 2 * batch.batch; }
  bool normalised() const { return weights.per_direction == kNormalisedWeights; }
  std::int64_t work() const { return batch.sequence.total * 4 * weights.hidden * (batch.input + output); }
};

kernels::Zoneout zoneout_of(const Tensor& zoneout, std::int64_t d) {
  if (!zoneout) return {};
  if (zoneout.numel() == 1 && zoneout.rank() < 4) return {zoneout.f32(), 0, 0, 0};
  const std::int64_t time = zoneout.size(3), row = zoneout.size(2) * time;
  return {zoneout.f32() + d * zoneout.size(1) * row, row, time, 1};
}

kernels::LstmNorm norm_of(const Saved& s, std::int64_t d) {
  if (!s.normalised()) return {};
  return {s.weights.data(d, kInputGain), s.weights.data(d, kRecurrentGain), s.weights.data(d, kCellGain),
          s.weights.data(d, kCellBias)};
}

kernels::LstmLayer layer_of(const Saved& s, std::int64_t d) {
  const std::int64_t B = s.batch.batch, H = s.weights.hidden;
  return {s.batch.direction(d),
          s.batch.input,
          H,
          s.output,
          s.weights.data(d, kInput),
          s.weights.data(d, kRecurrent),
          s.weights.data(d, kInputBias),
          s.weights.data(d, kRecurrentBias),
          s.weights.data(d, kProjection),
          s.weights.data(d, kPeephole),
          data_or_null(s.mask, d * B * s.output),
          zoneout_of(s.zoneout_h, d),
          zoneout_of(s.zoneout_c, d),
          s.batch.packed.f32(),
          data_or_null(s.h0, d * B * s.output),
          data_or_null(s.c0, d * B * H),
          norm_of(s, d)};
}

kernels::LstmSaved saved_of(const Saved& s, std::int64_t d) {
  const std::int64_t N = s.batch.sequence.total, H = s.weights.hidden, rows = s.state_rows();
  return {s.gates.f32_out() + d * N * kernels::gate_stride(4 * H),
          s.h.f32_out() + d * rows * s.output,
          s.c.f32_out() + d * rows * H,
          s.h_raw ? s.h_raw.f32_out() + d * rows * s.output : nullptr,
          s.hidden ? s.hidden.f32_out() + d * N * H : nullptr,
          s.keep,
          s.norm_ih ? s.norm_ih.f32_out() + d * N * kernels::gate_stride(4 * H) : nullptr,
          s.norm_hh ? s.norm_hh.f32_out() + d * N * kernels::gate_stride(4 * H) : nullptr,
          s.statistics ? s.statistics.f32_out() + d * N * 4 : nullptr};
}

void backward(const Saved& s, core::Gradients& g) {
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, B = s.batch.batch, P = s.output;
  Tensor dy = g.dy(0);
  const Tensor dh_n = g.dy(1) ? row_major(g.dy(1)) : Tensor(), dc_n = g.dy(2) ? row_major(g.dy(2)) : Tensor();
  const Tensor dx = g.wants(0) ? Tensor::empty({s.batch.sequence.total, s.batch.input}) : Tensor();
  const Tensor dh0 = Tensor::empty({D, B, P}), dc0 = Tensor::empty({D, B, H});
  for (std::int64_t d = 0; d < D; ++d) {
    const WeightGradients dw(s.weights, d, kFirstWeight, g);
    kernels::LstmGradients out{dx ? dx.f32_out() : nullptr,
                               d > 0,
                               dh0.f32_out() + d * B * P,
                               dc0.f32_out() + d * B * H,
                               dw.data(kInput),
                               dw.data(kRecurrent),
                               dw.shared_bias(kInputBias, kRecurrentBias),
                               dw.data(kProjection),
                               dw.data(kPeephole)};
    if (s.normalised()) {
      out.dgain_ih = dw.data(kInputGain);
      out.dgain_hh = dw.data(kRecurrentGain);
      out.dgain_c = dw.data(kCellGain);
      out.dbias_c = dw.data(kCellBias);
    }
    core::launch(2 * s.work(), [layer = layer_of(s, d), saved = saved_of(s, d), dy = steps_in(dy, d, D),
                                dh_n = data_or_null(dh_n, d * B * P), dc_n = data_or_null(dc_n, d * B * H),
                                out] { kernels::lstm_backward(layer, saved, dy, dh_n, dc_n, out); });
    dw.set(g, true);
  }
  if (g.wants(0)) g.set(0, unpacked(s.batch, dx));
  if (g.wants(1)) g.set(1, dh0);
  if (g.wants(2)) g.set(2, dc0);
}

void check_peepholes(const LayerWeights& weights) {
  for (std::int64_t d = 0; d < weights.directions; ++d) {
    const Tensor& peephole = weights.at(d, kPeephole);
    if (!peephole) continue;
    core::check_dtype("lstm", "weight_peephole", peephole, DType::float32);
    NV_CHECK(peephole.shape() == (Shape{3, weights.hidden}) && peephole.is_row_major(), "lstm",
             "weight_peephole must be row-major (3, hidden) with hidden = ", weights.hidden, ", got ",
             peephole.shape());
  }
}

void check_norm(const Saved& s) {
  const std::int64_t H = s.weights.hidden;
  const auto check = [](const char* name, const Tensor& weight, std::int64_t size) {
    NV_CHECK(weight.defined(), "lstm", name, " must be given");
    core::check_dtype("lstm", name, weight, DType::float32);
    NV_CHECK(weight.rank() == 1 && weight.size(0) == size, "lstm", name, " must be (", size, "), got ", weight.shape());
  };
  for (std::int64_t d = 0; s.normalised() && d < s.weights.directions; ++d) {
    check("gain_ih", s.weights.at(d, kInputGain), 4 * H);
    check("gain_hh", s.weights.at(d, kRecurrentGain), 4 * H);
    check("gain_c", s.weights.at(d, kCellGain), H);
    if (s.weights.at(d, kCellBias)) check("bias_c", s.weights.at(d, kCellBias), H);
  }
}

/// A zoneout is one number, or one for each unit: (directions, batch, steps, hidden).
Tensor checked_zoneout(const char* name, const Tensor& zoneout, const Saved& s) {
  if (!zoneout) return zoneout;
  core::check_dtype("lstm", name, zoneout, DType::float32);
  NV_CHECK(s.output == s.weights.hidden && !s.weights.at(0, kProjection), "lstm", name,
           " and a projection do not go together");
  if (zoneout.numel() == 1 && zoneout.rank() < 4) return zoneout;
  const Shape expected{s.weights.directions, s.batch.batch, s.batch.steps, s.weights.hidden};
  NV_CHECK(zoneout.shape() == expected, "lstm", name, " must be one number or ", expected, ", got ", zoneout.shape());
  return row_major(zoneout);
}

/// The buffers of the forward pass: all steps when they are kept for a backward.
void allocate(Saved& s) {
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, N = s.batch.sequence.total;
  s.gates = Tensor::empty({D, N, kernels::gate_stride(4 * H)});
  s.h = Tensor::empty({D, s.state_rows(), s.output});
  s.c = Tensor::empty({D, s.state_rows(), H});
  if (s.mask && s.zoneout_h) s.h_raw = Tensor::empty({D, s.state_rows(), s.output});
  if (s.weights.at(0, kProjection) && s.keep) s.hidden = Tensor::empty({D, N, H});
  if (!s.normalised() || !s.keep) return;
  s.norm_ih = Tensor::empty(s.gates.shape());
  s.norm_hh = Tensor::empty(s.gates.shape());
  s.statistics = Tensor::empty({D, N, 4});
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> lstm(const Tensor& x, const Tensor& h0, const Tensor& c0,
                                        const std::vector<Tensor>& weights, const Tensor& lengths, const Tensor& mask,
                                        const Tensor& zoneout_h, const Tensor& zoneout_c) {
  Saved s{};
  s.batch = sequence_batch("lstm", x, lengths);
  const bool normalised = !weights.empty() && weights.size() % kNormalisedWeights == 0;
  s.weights = layer_weights("lstm", weights, normalised ? kNormalisedWeights : kWeights, 4, s.batch.input, kProjection);
  check_peepholes(s.weights);
  check_norm(s);
  const std::int64_t D = s.weights.directions, H = s.weights.hidden, B = s.batch.batch;
  s.output = s.weights.at(0, kRecurrent).size(1);
  s.h0 = initial_state("lstm", "h0", h0, D, B, s.output);
  s.c0 = initial_state("lstm", "c0", c0, D, B, H);
  s.mask = initial_state("lstm", "mask", mask, D, B, s.output);
  s.zoneout_h = checked_zoneout("zoneout_h", zoneout_h, s);
  s.zoneout_c = checked_zoneout("zoneout_c", zoneout_c, s);
  for (const Tensor& constant : {mask, zoneout_h, zoneout_c})
    NV_CHECK(!core::needs_grad(constant), "lstm", "mask and zoneouts get no gradient: give them detached");
  std::vector<Tensor> inputs{s.batch.x, s.h0, s.c0};
  inputs.insert(inputs.end(), s.weights.tensors.begin(), s.weights.tensors.end());
  s.keep = core::needs_grad(inputs);
  allocate(s);
  const Tensor y = steps_tensor(s.batch, D * s.output), h_n = Tensor::empty({D, B, s.output}),
               c_n = Tensor::empty({D, B, H});
  for (std::int64_t d = 0; d < D; ++d)
    core::launch(s.work(), [layer = layer_of(s, d), saved = saved_of(s, d), y = steps_out(y, d, D),
                            h_n = h_n.f32_out() + d * B * s.output,
                            c_n = c_n.f32_out() + d * B * H] { kernels::lstm_forward(layer, saved, y, h_n, c_n); });
  clear_padding(s.batch, y);
  if (s.keep) {
    s.detach();
    std::vector<Tensor> read = read_again(s.batch, s.weights);
    read.insert(read.end(), {s.h0, s.c0, s.mask, s.zoneout_h, s.zoneout_c});
    core::record("lstm", {y, h_n, c_n}, inputs, core::saved_list(read),
                 [s = std::move(s)](core::Gradients& g) { backward(s, g); });
  }
  return {y, h_n, c_n};
}

}  // namespace nervure::ops
