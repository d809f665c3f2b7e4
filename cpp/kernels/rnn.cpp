// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/rnn.h"

#include "kernels/recurrent_gradients.h"
#include "kernels/recurrent_steps.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kFewSteps = 4;  // that do not pay for packing the weights

class Forward {
 public:
  Forward(const RnnLayer& layer, const RnnSaved& saved, const StepsOut& y, float* h_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        y_(y),
        h_n_(h_n),
        H_(layer.hidden),
        S_(gate_stride(layer.hidden)),
        h_{saved.h, H_, &s_, saved.keep},
        recurrent_(layer.w_hh, H_, false, H_, 1, H_, s_.batch) {}

  void run() {
    const core::Scratch<float> bias(static_cast<std::size_t>(H_));
    const InputProjection input(s_, layer_.x, layer_.input, layer_.w_ih, H_,
                                add_biases(layer_.b_ih, layer_.b_hh, H_, bias.get()), 0, H_, saved_.gates, S_);
    const bool packs = s_.steps >= kFewSteps;
    const core::Scratch<float> packed(static_cast<std::size_t>(packs ? recurrent_.packed_floats() : 1));
    if (packs) recurrent_.pack(packed.get());
    for (std::int64_t j = s_.active[0]; j < s_.batch; ++j)
      copy_row_or_zeros(layer_.h0, s_.row[j], H_, h_n_ + s_.row[j] * H_);
    const Split split = split_steps(s_, H_ * H_, recurrent_.panels(), true);
    const std::int64_t block = input.block(split.rows);
    over_time(
        s_, split, recurrent_.panels(), s_.steps,
        [&](std::int64_t i, std::int64_t first, std::int64_t last) {
          if (i % block == 0) input.run(i, smaller(i + block, s_.steps), first, last);
          begin(time_of(i), first, last);
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          step(time_of(i), running(s_, time_of(i), first, last), panel, end);
        });
  }

 private:
  std::int64_t time_of(std::int64_t i) const { return s_.reverse ? s_.steps - 1 - i : i; }

  void begin(std::int64_t t, std::int64_t first, std::int64_t last) {
    for (std::int64_t j = larger(first, first_beginning(s_, t)); j < smaller(last, s_.active[t]); ++j)
      copy_row_or_zeros(layer_.h0, s_.row[j], H_, h_.at(t, j));
  }

  void step(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    if (rows.size() == 0) return;
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, h_.at(t, rows.begin), H_, rows.size(),
                          saved_.gates + (s_.offset[t] + rows.begin) * S_, S_, true, nullptr);
    const std::int64_t begin = first * recurrent_.panel_width(), end = smaller(last * recurrent_.panel_width(), H_);
    const Next next = next_of(s_, t);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const std::int64_t row = s_.row[j];
      float* const gate = saved_.gates + (s_.offset[t] + j) * S_;
      float* const h_out = j < next.rows ? h_.at(next.t, j) : h_n_ + row * H_;
      float* const y = y_.data + row * y_.row_step + t * y_.time_step;
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
  float* h_n_;
  std::int64_t H_, S_;
  States h_;
  Factor recurrent_;
};

/// As for LSTM, the gradient of the state is kept in rows of falling length.
class Backward {
 public:
  Backward(const RnnLayer& layer, const RnnSaved& saved, const StepsIn& dy)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        dy_(dy),
        H_(layer.hidden),
        S_(gate_stride(layer.hidden)),
        recurrent_(layer.w_hh, H_, true, H_, 1, H_, s_.batch) {}

  void run(const float* dh_n, const RnnGradients& out) {
    const core::Scratch<float> packed(static_cast<std::size_t>(recurrent_.packed_floats()));
    const core::Scratch<float> dh(static_cast<std::size_t>(s_.batch * H_));
    const core::Scratch<float> gates(static_cast<std::size_t>(s_.total * S_));
    dgates_ = gates.get();
    dh_ = dh.get();
    recurrent_.pack(packed.get());
    for (std::int64_t j = 0; j < s_.batch; ++j) copy_row_or_zeros(dh_n, s_.row[j], H_, dh_ + j * H_);
    const Split split = split_steps(s_, H_ * H_, recurrent_.panels(), true);
    over_time(
        s_, split, recurrent_.panels(), s_.steps + 1, [](std::int64_t, std::int64_t, std::int64_t) {},
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          if (i > 0) through_time(time_of(i - 1), running(s_, time_of(i - 1), first, last), panel, end);
          const std::int64_t width = recurrent_.panel_width();
          if (i < s_.steps)
            step(time_of(i), running(s_, time_of(i), first, last), panel * width, smaller(end * width, H_));
        });
    for (std::int64_t j = 0; j < s_.batch; ++j) copy_row(dh_ + j * H_, H_, out.dh0 + s_.row[j] * H_);
    add_up(out);
  }

 private:
  std::int64_t time_of(std::int64_t i) const { return s_.reverse ? i : s_.steps - 1 - i; }

  void through_time(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    if (rows.size() == 0) return;
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, dgates_ + (s_.offset[t] + rows.begin) * S_, S_, rows.size(), dh_ + rows.begin * H_,
                          H_, false, nullptr);
  }

  void step(std::int64_t t, RowRange rows, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const gate = saved_.gates + (s_.offset[t] + j) * S_;
      float* const d = dgates_ + (s_.offset[t] + j) * S_;
      const float* const dy = dy_.data ? dy_.data + s_.row[j] * dy_.row_step + t * dy_.time_step : nullptr;
      for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf h = load_some(gate + u, n);
        vf dh = load_some(dh_ + j * H_ + u, n);
        if (dy) dh += load_some(dy + u, n);
        store_some(d + u, layer_.relu ? select(h <= 0.0f, vf{}, dh) : dh * (1.0f - h * h), n);
      });
    }
  }

  void add_up(const RnnGradients& out) const {
    const GateGradients d{dgates_, s_.total, H_, S_};
    weight_gradients({{layer_.x, layer_.input, out.dw_ih}, {saved_.h, H_, out.dw_hh}}, H_, d, out.db);
    if (out.dx) input_gradient(d, layer_.w_ih, H_, layer_.input, out.add_dx, out.dx);
  }

  const RnnLayer& layer_;
  const Sequence& s_;
  const RnnSaved& saved_;
  const StepsIn& dy_;
  std::int64_t H_, S_;
  Factor recurrent_;
  float *dgates_ = nullptr, *dh_ = nullptr;
};

}  // namespace

void rnn_forward(const RnnLayer& layer, const RnnSaved& saved, const StepsOut& y, float* h_n) {
  Forward(layer, saved, y, h_n).run();
}

void rnn_backward(const RnnLayer& layer, const RnnSaved& saved, const StepsIn& dy, const float* dh_n,
                  const RnnGradients& gradients) {
  Backward(layer, saved, dy).run(dh_n, gradients);
}

}  // namespace nervure::kernels::NV_ISA
