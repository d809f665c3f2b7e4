// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/rnn.h"

#include "kernels/recurrent_gradients.h"
#include "kernels/recurrent_steps.h"

namespace nervure::kernels::NV_ISA {
namespace {

class Forward {
 public:
  Forward(const RnnLayer& layer, const RnnSaved& saved, const StepsOut& y, float* h_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        y_(y),
        H_(layer.hidden),
        S_(gate_stride(layer.hidden)),
        h_(s_, saved.h, H_, saved.keep, layer.h0, h_n),
        recurrent_(layer.w_hh, H_, false, H_, 1, H_, s_.batch) {}

  void run() {
    const core::Scratch<float> bias(static_cast<std::size_t>(H_));
    const InputProjection input(s_, layer_.x, layer_.input, layer_.w_ih, H_,
                                add_biases(layer_.b_ih, layer_.b_hh, H_, bias.get()), 0, H_, saved_.gates, S_);
    const Packing packing(recurrent_, s_.steps >= kFewSteps);
    const Split split = split_steps(s_, H_ * H_, recurrent_.panels(), true);
    const Walk walk{s_.steps, s_.reverse};
    h_.keep_others();
    over_time(
        s_, walk, split, recurrent_.panels(), input.block(split.rows), s_.steps,
        [&](std::int64_t i, std::int64_t end, std::int64_t first, std::int64_t last) {
          input.run(i, end, first, last);
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last) {
          const std::int64_t t = walk.at(i);
          h_.begin(t, h_.beginning(t, first, last));
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          step(walk.at(i), running(s_, walk.at(i), first, last), panel, end);
        });
  }

 private:
  void step(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    if (rows.size() == 0) return;
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, h_.at(t, rows.begin), H_, rows.size(),
                          saved_.gates + (s_.offset[t] + rows.begin) * S_, S_, true, nullptr);
    const std::int64_t begin = first * recurrent_.panel_width(), end = smaller(last * recurrent_.panel_width(), H_);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      float* const gate = saved_.gates + (s_.offset[t] + j) * S_;
      float *const h_out = h_.after(t, j), *const y = row_of_steps(s_, y_, t, j);
      for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf z = load_some(gate + u, n);
        const vf h = layer_.relu ? max(vf{}, z) : tanh(z);  // in this order a NaN stays
        store_some(gate + u, h, n);
        store_some(h_out + u, h, n);
        store_some(y + u, h, n);
      });
    }
  }

  const RnnLayer& layer_;
  const Sequence& s_;
  const RnnSaved& saved_;
  const StepsOut& y_;
  std::int64_t H_, S_;
  StateFlow h_;
  Factor recurrent_;
};

class Backward {
 public:
  Backward(const RnnLayer& layer, const RnnSaved& saved, const StepsIn& dy, const float* dh_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        dy_(dy),
        H_(layer.hidden),
        S_(gate_stride(layer.hidden)),
        recurrent_(layer.w_hh, H_, true, H_, 1, H_, s_.batch),
        dh_(s_, H_, dh_n),
        dgates_(static_cast<std::size_t>(s_.total * S_)) {}

  void run(const RnnGradients& out) {
    walk();
    dh_.give(out.dh0);
    const GateGradients d{dgates_.get(), s_.total, H_, S_};
    weight_gradients({{layer_.x, layer_.input, out.dw_ih}, {saved_.h, H_, out.dw_hh}}, H_, d, out.db);
    if (out.dx) input_gradient(d, layer_.w_ih, H_, layer_.input, out.add_dx, out.dx);
  }

 private:
  void walk() {
    const Packing packing(recurrent_, true);
    const Split split = split_steps(s_, H_ * H_, recurrent_.panels(), true);
    const Walk walk{s_.steps, !s_.reverse};
    over_time(s_, walk, split, recurrent_.panels(),
              [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
                if (i > 0) through_time(walk.at(i - 1), running(s_, walk.at(i - 1), first, last), panel, end);
                const std::int64_t width = recurrent_.panel_width();
                if (i < s_.steps)
                  step(walk.at(i), running(s_, walk.at(i), first, last), panel * width, smaller(end * width, H_));
              });
  }

  void through_time(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    if (rows.size() == 0) return;
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, dgates_.get() + (s_.offset[t] + rows.begin) * S_, S_, rows.size(),
                          dh_.at(rows.begin), H_, false, nullptr);
  }

  void step(std::int64_t t, RowRange rows, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const gate = saved_.gates + (s_.offset[t] + j) * S_;
      float* const d = dgates_.get() + (s_.offset[t] + j) * S_;
      const float *const dy = row_of_steps(s_, dy_, t, j), *const dh_out = dh_.at(j);
      for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf h = load_some(gate + u, n);
        vf dh = load_some(dh_out + u, n);
        if (dy) dh += load_some(dy + u, n);
        store_some(d + u, layer_.relu ? select(h <= 0.0f, vf{}, dh) : dh * (1.0f - h * h), n);
      });
    }
  }

  const RnnLayer& layer_;
  const Sequence& s_;
  const RnnSaved& saved_;
  const StepsIn& dy_;
  std::int64_t H_, S_;
  Factor recurrent_;
  StateGradient dh_;
  core::Scratch<float> dgates_;
};

}  // namespace

void rnn_forward(const RnnLayer& layer, const RnnSaved& saved, const StepsOut& y, float* h_n) {
  Forward(layer, saved, y, h_n).run();
}

void rnn_backward(const RnnLayer& layer, const RnnSaved& saved, const StepsIn& dy, const float* dh_n,
                  const RnnGradients& gradients) {
  Backward(layer, saved, dy, dh_n).run(gradients);
}

}  // namespace nervure::kernels::NV_ISA
