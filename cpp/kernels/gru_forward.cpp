// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gru.h"
#include "kernels/recurrent_steps.h"

namespace nervure::kernels::NV_ISA {
namespace {

struct Cell {
  float* gates;
  const float* h;
  float *h_out, *y;
};

class Forward {
 public:
  Forward(const GruLayer& layer, const GruSaved& saved, const StepsOut& y, float* h_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        y_(y),
        H_(layer.hidden),
        S_(gate_stride(4 * layer.hidden)),
        h_(s_, saved.h, H_, saved.keep, layer.h0, h_n),
        recurrent_(layer.w_hh, 3 * H_, false, H_, 3, H_, s_.batch) {}

  void run() {
    // Of b_hh, what is multiplied by r is not added here.
    const core::Scratch<float> sum(static_cast<std::size_t>(3 * H_));
    const float* const bias = add_biases(layer_.b_ih, layer_.b_hh, 3 * H_, sum.get());
    if (bias && layer_.reset_after)
      add_biases(layer_.b_ih ? layer_.b_ih + 2 * H_ : nullptr, nullptr, H_, sum.get() + 2 * H_);
    const InputProjection gates(s_, layer_.x, layer_.input, layer_.w_ih, 3 * H_, bias, 0, 2 * H_, saved_.gates + H_,
                                S_);
    const InputProjection candidate(s_, layer_.x, layer_.input, layer_.w_ih, 3 * H_, bias, 2 * H_, H_, saved_.gates,
                                    S_);
    const Packing packing(recurrent_, s_.steps >= kFewSteps);
    const Split split = split_steps(s_, 3 * H_ * H_, recurrent_.panels(), layer_.reset_after);
    const Walk walk{s_.steps, s_.reverse};
    h_.keep_others();
    over_time(
        s_, walk, split, recurrent_.panels(), gates.block(split.rows), s_.steps,
        [&](std::int64_t i, std::int64_t end, std::int64_t first, std::int64_t last) {
          gates.run(i, end, first, last);
          candidate.run(i, end, first, last);
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last) {
          const std::int64_t t = walk.at(i);
          h_.begin(t, h_.beginning(t, first, last));
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          const RowRange rows = running(s_, walk.at(i), first, last);
          if (rows.size() == 0) return;
          if (layer_.reset_after)
            step_after(walk.at(i), rows, panel, end);
          else
            step_before(walk.at(i), rows);
        });
  }

 private:
  float* gates_at(std::int64_t t, std::int64_t j) const { return saved_.gates + (s_.offset[t] + j) * S_; }

  void step_after(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    float* const gates = gates_at(t, rows.begin) + H_;  // r, z and the recurrent part of n, as in W_hh
    const float* const h = h_.at(t, rows.begin);
    for (std::int64_t panel = first; panel < last; ++panel) {
      recurrent_.multiply_gates(panel, h, H_, rows.size(), gates, S_, 2, layer_.b_hh);
      const std::int64_t u = panel * recurrent_.panel_width();
      for (std::int64_t j = rows.begin; j < rows.end; ++j)
        update_after(cell_of(t, j), u, smaller(u + recurrent_.panel_width(), H_));
    }
  }

  void step_before(std::int64_t t, RowRange rows) {
    const std::int64_t H = H_, panels = recurrent_.panels();
    float* const gates = gates_at(t, rows.begin);
    for (std::int64_t gate = 0; gate < 2; ++gate)
      for (std::int64_t panel = 0; panel < panels; ++panel)
        recurrent_.multiply(gate, panel, h_.at(t, rows.begin), H, rows.size(), gates + H, S_, true, nullptr);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) reset(cell_of(t, j));
    for (std::int64_t panel = 0; panel < panels; ++panel)  // n lies two gates before its place in W_hh
      recurrent_.multiply(2, panel, gates + 3 * H, S_, rows.size(), gates - 2 * H, S_, true, nullptr);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) finish(cell_of(t, j), 0, H);
  }

  Cell cell_of(std::int64_t t, std::int64_t j) const {
    return {gates_at(t, j), h_.at(t, j), h_.after(t, j), row_of_steps(s_, y_, t, j)};
  }

  // In two passes, as for LSTM: n waits for r.
  void update_after(const Cell& cell, std::int64_t begin, std::int64_t end) const {
    const std::int64_t H = H_;
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      float* const g = cell.gates + u;
      const vf r = sigmoid(load_some(g + H, count));
      store_some(g, fma(r, load_some(g + 3 * H, count), load_some(g, count)), count);
      store_some(g + H, r, count);
      store_some(g + 2 * H, sigmoid(load_some(g + 2 * H, count)), count);
    });
    finish(cell, begin, end);
  }

  void reset(const Cell& cell) const {
    const std::int64_t H = H_;
    for_vectors(0, H, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      float* const g = cell.gates + u;
      const vf r = sigmoid(load_some(g + H, count));
      store_some(g + H, r, count);
      store_some(g + 2 * H, sigmoid(load_some(g + 2 * H, count)), count);
      store_some(g + 3 * H, r * load_some(cell.h + u, count), count);
    });
  }

  /// n and h'.
  void finish(const Cell& cell, std::int64_t begin, std::int64_t end) const {
    const std::int64_t H = H_;
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      float* const g = cell.gates + u;
      const vf n = tanh(load_some(g, count));
      const vf h = fma(load_some(g + 2 * H, count), load_some(cell.h + u, count) - n, n);
      store_some(g, n, count);
      store_some(cell.h_out + u, h, count);
      store_some(cell.y + u, h, count);
    });
  }

  const GruLayer& layer_;
  const Sequence& s_;
  const GruSaved& saved_;
  const StepsOut& y_;
  std::int64_t H_, S_;
  StateFlow h_;
  Factor recurrent_;
};

}  // namespace

void gru_forward(const GruLayer& layer, const GruSaved& saved, const StepsOut& y, float* h_n) {
  Forward(layer, saved, y, h_n).run();
}

}  // namespace nervure::kernels::NV_ISA
