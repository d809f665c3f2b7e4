// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/gru.h"
#include "kernels/recurrent_gradients.h"
#include "kernels/recurrent_steps.h"

namespace nervure::kernels::NV_ISA {
namespace {

struct Cell {
  const float* gates;
  float *d, *dh;
  const float *h, *dy;
};

class Backward {
 public:
  Backward(const GruLayer& layer, const GruSaved& saved, const StepsIn& dy, const float* dh_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        dy_(dy),
        H_(layer.hidden),
        S_(gate_stride(4 * layer.hidden)),
        before_(!layer.reset_after),
        // With reset_after r, z and n together; otherwise n goes its own way.
        recurrent_(layer.w_hh, 3 * H_, true, (before_ ? 2 : 3) * H_, 1, H_, s_.batch),
        candidate_(layer.w_hh + 2 * H_, 3 * H_, true, H_, 1, H_, s_.batch),
        dh_(s_, H_, dh_n),
        dgates_(static_cast<std::size_t>(s_.total * S_)),
        product_(static_cast<std::size_t>(before_ ? s_.batch * H_ : 1)) {}

  void run(const GruGradients& out) {
    walk();
    dh_.give(out.dh0);
    add_up(out);
  }

 private:
  std::int64_t gates_at(std::int64_t t, std::int64_t j) const { return (s_.offset[t] + j) * S_; }

  void walk() {
    const Packing packing(recurrent_, true), packing_n(candidate_, before_);
    const Split split = split_steps(s_, 3 * H_ * H_, recurrent_.panels(), !before_);
    const Walk walk{s_.steps, !s_.reverse};
    const std::int64_t width = recurrent_.panel_width();
    const StepFetch step(recurrent_, split, 4, H_, S_, dy_);
    over_time(s_, walk, split, recurrent_.panels(),
              [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
                Fetch fetch;
                if (i > 0 && i < s_.steps && step.is_possible())
                  aim(step, walk.at(i), running(s_, walk.at(i), first, last), panel * width, fetch);
                if (i > 0) through_time(walk.at(i - 1), running(s_, walk.at(i - 1), first, last), panel, end, fetch);
                if (i == s_.steps) return;
                const std::int64_t t = walk.at(i);
                const RowRange rows = running(s_, t, first, last);
                if (before_) return step_before(t, rows);
                for (std::int64_t j = rows.begin; j < rows.end; ++j)
                  update_after(cell_of(t, j), panel * width, smaller(end * width, H_));
              });
  }

  /// What step t reads and writes of `rows`, from column u on.
  void aim(const StepFetch& step, std::int64_t t, RowRange rows, std::int64_t u, Fetch& fetch) const {
    if (rows.size() == 0) return;
    const std::int64_t at = gates_at(t, rows.begin) + u;
    const float* const dy = row_of_steps(s_, dy_, t, rows.begin);
    step.aim(rows.size(), saved_.gates + at, dgates_.get() + at, dy ? dy + u : nullptr,
             saved_.h + (s_.offset[t] + rows.begin) * H_ + u, fetch);
  }

  /// dh += d(gates) W_hh^T of the step t that was just done.
  void through_time(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last, Fetch& fetch) {
    if (rows.size() == 0) return;
    fetch.be_late(recurrent_.fetching_tiles(first, last, rows.size()));
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, dgates_.get() + gates_at(t, rows.begin) + H_, S_, rows.size(), dh_.at(rows.begin),
                          H_, true, nullptr, &fetch);
  }

  Cell cell_of(std::int64_t t, std::int64_t j) const {
    return {saved_.gates + gates_at(t, j), dgates_.get() + gates_at(t, j), dh_.at(j),
            saved_.h + (s_.offset[t] + j) * H_, row_of_steps(s_, dy_, t, j)};
  }

  void update_after(const Cell& cell, std::int64_t begin, std::int64_t end) const {
    const std::int64_t H = H_;
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      const float* const g = cell.gates + u;
      float* const to = cell.d + u;
      const vf n = load_some(g, count), r = load_some(g + H, count), z = load_some(g + 2 * H, count),
               recurrent = load_some(g + 3 * H, count);
      vf dh = load_some(cell.dh + u, count);
      if (cell.dy) dh += load_some(cell.dy + u, count);
      const vf kept = dh * z;
      const vf dn = (dh - kept) * (1.0f - n * n);
      store_some(cell.dh + u, kept, count);
      store_some(to, dn, count);
      store_some(to + H, dn * recurrent * (r * (1.0f - r)), count);
      store_some(to + 2 * H, dh * (load_some(cell.h + u, count) - n) * (z * (1.0f - z)), count);
      store_some(to + 3 * H, dn * r, count);
    });
  }

  void step_before(std::int64_t t, RowRange rows) {
    if (rows.size() == 0) return;
    const std::int64_t H = H_;
    for (std::int64_t j = rows.begin; j < rows.end; ++j) update_before(cell_of(t, j));
    for (std::int64_t panel = 0; panel < candidate_.panels(); ++panel)
      candidate_.multiply(0, panel, dgates_.get() + gates_at(t, rows.begin), S_, rows.size(),
                          product_.get() + rows.begin * H, H, false, nullptr);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) reset(cell_of(t, j), product_.get() + j * H);
  }

  void update_before(const Cell& cell) const {
    const std::int64_t H = H_;
    for_vectors(0, H, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      const float* const g = cell.gates + u;
      float* const to = cell.d + u;
      const vf n = load_some(g, count), z = load_some(g + 2 * H, count);
      vf dh = load_some(cell.dh + u, count);
      if (cell.dy) dh += load_some(cell.dy + u, count);
      const vf kept = dh * z;
      store_some(cell.dh + u, kept, count);
      store_some(to, (dh - kept) * (1.0f - n * n), count);
      store_some(to + 2 * H, dh * (load_some(cell.h + u, count) - n) * (z * (1.0f - z)), count);
      store_some(to + 3 * H, vf{}, count);  // is summed with the others
    });
  }

  /// `d`: the gradient of r h.
  void reset(const Cell& cell, const float* d) const {
    const std::int64_t H = H_;
    for_vectors(0, H, [&](std::int64_t u, std::int64_t count) NV_INLINE_LAMBDA {
      const float* const g = cell.gates + u;
      float* const to = cell.d + u;
      const vf r = load_some(g + H, count), product = load_some(d + u, count);
      store_some(cell.dh + u, fma(product, r, load_some(cell.dh + u, count)), count);
      store_some(to + H, product * load_some(cell.h + u, count) * (r * (1.0f - r)), count);
    });
  }

  void add_up(const GruGradients& out) const {
    const std::int64_t H = H_, N = s_.total;
    const float* const g = dgates_.get();
    const GateGradients n{g, N, H, S_}, reset_update{g + H, N, 2 * H, S_}, recurrent{g + 3 * H, N, H, S_};
    const core::Scratch<float> sums(static_cast<std::size_t>(4 * H));
    float* const sum = out.db_ih ? sums.get() : nullptr;
    const LeftFactor x{layer_.x, layer_.input, out.dw_ih}, h{saved_.h, H, out.dw_hh};
    weight_gradients({x, h}, 3 * H, reset_update, sum ? sum + H : nullptr);
    if (!before_) {
      const LeftFactor none{nullptr, 0, nullptr};
      const WeightProduct both[2] = {{{candidate_of(x), none}, n, sum},
                                     {{candidate_of(h), none}, recurrent, sum ? sum + 3 * H : nullptr}};
      weight_gradients(both, 2, 3 * H);
    } else {
      candidate_gradients(candidate_of(x), n, out.dw_hh, sum);
    }
    if (sum) bias_gradients(out, sum);
    if (!out.dx) return;
    input_gradient(reset_update, layer_.w_ih, 3 * H, layer_.input, out.add_dx, out.dx);
    input_gradient(n, layer_.w_ih + 2 * H, 3 * H, layer_.input, true, out.dx);
  }

  /// The same factor, for the columns of n.
  LeftFactor candidate_of(const LeftFactor& factor) const {
    return {factor.a, factor.width, factor.dw ? factor.dw + 2 * H_ : nullptr};
  }

  /// Of W_in, and dW_hn = (r h)^T dn, r h lying among the gates.
  void candidate_gradients(const LeftFactor& x, const GateGradients& n, float* dw_hh, float* sum) const {
    const core::Scratch<float> reset(static_cast<std::size_t>(s_.total * H_));
    core::parallel_for(s_.total, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) copy_row(saved_.gates + i * S_ + 3 * H_, H_, reset.get() + i * H_);
    });
    weight_gradients({x, candidate_of({reset.get(), H_, dw_hh})}, 3 * H_, n, sum);
  }

  void bias_gradients(const GruGradients& out, const float* sums) const {
    const std::int64_t H = H_;
    copy_row(sums + H, 2 * H, out.db_ih);
    copy_row(sums, H, out.db_ih + 2 * H);
    copy_row(sums + H, 2 * H, out.db_hh);
    copy_row(sums + (before_ ? 0 : 3 * H), H, out.db_hh + 2 * H);
  }

  const GruLayer& layer_;
  const Sequence& s_;
  const GruSaved& saved_;
  const StepsIn& dy_;
  std::int64_t H_, S_;
  bool before_;
  Factor recurrent_, candidate_;
  StateGradient dh_;
  core::Scratch<float> dgates_, product_;
};

}  // namespace

void gru_backward(const GruLayer& layer, const GruSaved& saved, const StepsIn& dy, const float* dh_n,
                  const GruGradients& gradients) {
  Backward(layer, saved, dy, dh_n).run(gradients);
}

}  // namespace nervure::kernels::NV_ISA
