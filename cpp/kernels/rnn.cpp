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
    bias_ = add_biases(layer_.b_ih, layer_.b_hh, H_, bias.get());
    const Packing packing(recurrent_, s_.steps >= kFewSteps);
    h_.keep_others();
    if (is_large())
      run_large();
    else
      run_small();
    for (std::int64_t j = 0; saved_.keep && j < s_.batch; ++j)
      copy_row(h_.final_at(j), H_, saved_.h + (s_.total + j) * H_);
  }

 private:
  /// Whether it pays to multiply a step's input where the sums are needed, instead of writing them for many steps.
  bool is_large() const {
    constexpr std::int64_t kRows = 16, kUnits = 128, kNear = 128 * 1024;  // floats that the cache has room for
    return s_.steps >= kFewSteps && s_.batch >= kRows && H_ >= kUnits && layer_.input * H_ <= kNear;
  }

  void run_small() {
    const core::Scratch<float> sums(static_cast<std::size_t>(s_.total * S_));
    const InputProjection input(s_, layer_.x, layer_.input, layer_.w_ih, H_, bias_, 0, H_, sums.get(), S_);
    const Split split = split_steps(s_, H_ * H_, recurrent_.panels(), true);
    walk(
        split, input.block(split.rows),
        [&](std::int64_t i, std::int64_t end, std::int64_t first, std::int64_t last) {
          input.run(i, end, first, last);
        },
        [&](std::int64_t i, RowRange rows, std::int64_t first, std::int64_t last) {
          const std::int64_t t = Walk{s_.steps, s_.reverse}.at(i);
          Fetch fetch;
          float* const from = sums.get() + (s_.offset[t] + rows.begin) * S_;
          for (std::int64_t panel = first; panel < last; ++panel) step(t, rows, panel, from, fetch);
        });
  }

  void run_large() {
    const core::Scratch<float> sums(static_cast<std::size_t>(s_.batch * S_));
    const std::int64_t I = layer_.input, depth = recurrent_.depth(), lines = recurrent_.fetched_lines();
    Factor input(layer_.w_ih, H_, false, I, 1, H_, s_.batch);
    const Packing packing(input, true);
    const Split split = split_steps(s_, H_ * H_, recurrent_.panels(), true);
    const FetchPattern x(I, 1, 0, I, depth, lines), h(H_, 1, 0, H_, depth, lines),
        y(H_, 1, 0, y_.row_step, depth, lines);
    walk(
        split, s_.steps, [](std::int64_t, std::int64_t, std::int64_t, std::int64_t) {},
        [&](std::int64_t i, RowRange rows, std::int64_t first, std::int64_t last) {
          const Walk walk{s_.steps, s_.reverse};
          const std::int64_t t = walk.at(i), row = s_.offset[t] + rows.begin;
          Fetch fetch;  // what the step writes, and what the next one reads of the input
          if (!split.units && i + 1 < s_.steps) {
            fetch.add(h, h_.after(t, rows.begin), rows.size());
            fetch.add(y, row_of_steps(s_, y_, t, rows.begin), rows.size());
            fetch.add(x, layer_.x + (s_.offset[walk.at(i + 1)] + rows.begin) * I, rows.size());
          }
          float* const to = sums.get() + rows.begin * S_;
          for (std::int64_t panel = first; panel < last; ++panel) {
            input.multiply(0, panel, layer_.x + row * I, I, rows.size(), to, S_, false, bias_);
            step(t, rows, panel, to, fetch);
          }
        });
  }

  /// body(i, rows, first panel, last panel) where there are rows.
  template <class Ahead, class Body>
  void walk(const Split& split, std::int64_t block, const Ahead& ahead, const Body& body) {
    const Walk walk{s_.steps, s_.reverse};
    over_time(
        s_, walk, split, recurrent_.panels(), block, s_.steps, ahead,
        [&](std::int64_t i, std::int64_t first, std::int64_t last) {
          const std::int64_t t = walk.at(i);
          h_.begin(t, h_.beginning(t, first, last));
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          const RowRange rows = running(s_, walk.at(i), first, last);
          if (rows.size() > 0) body(i, rows, panel, end);
        });
  }

  /// `sums`: x W_ih and the biases, of the first of `rows`.
  void step(std::int64_t t, RowRange rows, std::int64_t panel, float* sums, Fetch& fetch) const {
    recurrent_.multiply(0, panel, h_.at(t, rows.begin), H_, rows.size(), sums, S_, true, nullptr, &fetch);
    const std::int64_t begin = panel * recurrent_.panel_width(), end = smaller(begin + recurrent_.panel_width(), H_);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const sum = sums + (j - rows.begin) * S_;
      float *const h_out = h_.after(t, j), *const y = row_of_steps(s_, y_, t, j);
      for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf z = load_some(sum + u, n);
        const vf h = layer_.relu ? max(vf{}, z) : tanh(z);  // in this order a NaN stays
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
  const float* bias_ = nullptr;
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
        h_(s_, saved.h, H_, true, nullptr, nullptr),
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
    const std::int64_t width = recurrent_.panel_width();
    const StepFetch ahead(recurrent_, split, 1, H_, S_, dy_);
    over_time(s_, walk, split, recurrent_.panels(),
              [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
                Fetch fetch;
                if (i > 0 && i < s_.steps && ahead.is_possible())
                  aim(ahead, walk.at(i), running(s_, walk.at(i), first, last), panel * width, fetch);
                if (i > 0) through_time(walk.at(i - 1), running(s_, walk.at(i - 1), first, last), panel, end, fetch);
                if (i < s_.steps)
                  step(walk.at(i), running(s_, walk.at(i), first, last), panel * width, smaller(end * width, H_));
              });
  }

  const float* h_after(std::int64_t t, std::int64_t j) const {
    return h_.goes_on(t, j) ? h_.after(t, j) : saved_.h + (s_.total + j) * H_;
  }

  /// What step t reads and writes of `rows`, from column u on.
  void aim(const StepFetch& step, std::int64_t t, RowRange rows, std::int64_t u, Fetch& fetch) const {
    if (rows.size() == 0) return;
    const std::int64_t at = (s_.offset[t] + rows.begin) * S_ + u;
    const float* const dy = row_of_steps(s_, dy_, t, rows.begin);
    step.aim(rows.size(), nullptr, dgates_.get() + at, dy ? dy + u : nullptr, h_after(t, rows.begin) + u, fetch);
  }

  void through_time(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last, Fetch& fetch) {
    if (rows.size() == 0) return;
    fetch.be_late(recurrent_.fetching_tiles(first, last, rows.size()));
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, dgates_.get() + (s_.offset[t] + rows.begin) * S_, S_, rows.size(),
                          dh_.at(rows.begin), H_, false, nullptr, &fetch);
  }

  void step(std::int64_t t, RowRange rows, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const h_out = h_after(t, j);
      float* const d = dgates_.get() + (s_.offset[t] + j) * S_;
      const float *const dy = row_of_steps(s_, dy_, t, j), *const dh_in = dh_.at(j);
      for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf h = load_some(h_out + u, n);
        vf dh = load_some(dh_in + u, n);
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
  StateFlow h_;
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
