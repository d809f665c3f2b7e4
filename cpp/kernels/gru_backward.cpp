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

/// As for LSTM, the gradient of the state is kept in rows of falling length.
class Backward {
 public:
  Backward(const GruLayer& layer, const GruSaved& saved, const StepsIn& dy)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        dy_(dy),
        H_(layer.hidden),
        S_(gate_stride(4 * layer.hidden)),
        h_{saved.h, H_, &s_, true},
        // With reset_after r, z and n together; otherwise n goes its own way.
        recurrent_(layer.w_hh, 3 * H_, true, (layer.reset_after ? 3 : 2) * H_, 1, H_, s_.batch),
        candidate_(layer.w_hh + 2 * H_, 3 * H_, true, H_, 1, H_, s_.batch) {}

  void run(const float* dh_n, const GruGradients& out) {
    const std::int64_t B = s_.batch;
    const bool before = !layer_.reset_after;
    const core::Scratch<float> packed(static_cast<std::size_t>(recurrent_.packed_floats()));
    const core::Scratch<float> packed_n(static_cast<std::size_t>(before ? candidate_.packed_floats() : 1));
    const core::Scratch<float> dh(static_cast<std::size_t>(B * H_));
    const core::Scratch<float> product(static_cast<std::size_t>(before ? B * H_ : 1));
    const core::Scratch<float> gates(static_cast<std::size_t>(s_.total * S_));
    dgates_ = gates.get();
    dh_ = dh.get();
    product_ = product.get();
    recurrent_.pack(packed.get());
    if (before) candidate_.pack(packed_n.get());
    for (std::int64_t j = 0; j < B; ++j) copy_row_or_zeros(dh_n, s_.row[j], H_, dh_ + j * H_);
    walk();
    for (std::int64_t j = 0; j < B; ++j) copy_row(dh_ + j * H_, H_, out.dh0 + s_.row[j] * H_);
    add_up(out);
  }

 private:
  std::int64_t time_of(std::int64_t i) const { return s_.reverse ? i : s_.steps - 1 - i; }
  std::int64_t gates_at(std::int64_t t, std::int64_t j) const { return (s_.offset[t] + j) * S_; }

  void walk() {
    const Split split = split_steps(s_, 3 * H_ * H_, recurrent_.panels(), layer_.reset_after);
    over_time(
        s_, split, recurrent_.panels(), s_.steps + 1, [](std::int64_t, std::int64_t, std::int64_t) {},
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          if (i > 0) through_time(time_of(i - 1), running(s_, time_of(i - 1), first, last), panel, end);
          if (i == s_.steps) return;
          const std::int64_t t = time_of(i), width = recurrent_.panel_width();
          const RowRange rows = running(s_, t, first, last);
          if (layer_.reset_after) {
            for (std::int64_t j = rows.begin; j < rows.end; ++j)
              update_after(cell_of(t, j), panel * width, smaller(end * width, H_));
          } else {
            step_before(t, rows);
          }
        });
  }

  /// dh += d(gates) W_hh^T of the step t that was just done.
  void through_time(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    if (rows.size() == 0) return;
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, dgates_ + gates_at(t, rows.begin) + H_, S_, rows.size(), dh_ + rows.begin * H_, H_,
                          true, nullptr);
  }

  Cell cell_of(std::int64_t t, std::int64_t j) const {
    const float* const dy = dy_.data ? dy_.data + s_.row[j] * dy_.row_step + t * dy_.time_step : nullptr;
    return {saved_.gates + gates_at(t, j), dgates_ + gates_at(t, j), dh_ + j * H_, h_.at(t, j), dy};
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
      candidate_.multiply(0, panel, dgates_ + gates_at(t, rows.begin), S_, rows.size(), product_ + rows.begin * H, H,
                          false, nullptr);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) reset(cell_of(t, j), product_ + j * H);
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
    const float* const g = dgates_;
    const GateGradients n{g, N, H, S_}, reset_update{g + H, N, 2 * H, S_}, recurrent{g + 3 * H, N, H, S_};
    const core::Scratch<float> sums(static_cast<std::size_t>(4 * H));
    float* const sum = out.db_ih ? sums.get() : nullptr;
    const LeftFactor x{layer_.x, layer_.input, out.dw_ih}, h{saved_.h, H, out.dw_hh};
    weight_gradients({x, h}, 3 * H, reset_update, sum ? sum + H : nullptr);
    if (layer_.reset_after) {
      weight_gradient(candidate_of(x), 3 * H, n, sum);
      weight_gradient(candidate_of(h), 3 * H, recurrent, sum ? sum + 3 * H : nullptr);
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
    copy_row(sums + (layer_.reset_after ? 3 * H : 0), H, out.db_hh + 2 * H);
  }

  const GruLayer& layer_;
  const Sequence& s_;
  const GruSaved& saved_;
  const StepsIn& dy_;
  std::int64_t H_, S_;
  States h_;
  Factor recurrent_, candidate_;
  float *dgates_ = nullptr, *dh_ = nullptr, *product_ = nullptr;
};

}  // namespace

void gru_backward(const GruLayer& layer, const GruSaved& saved, const StepsIn& dy, const float* dh_n,
                  const GruGradients& gradients) {
  Backward(layer, saved, dy).run(dh_n, gradients);
}

}  // namespace nervure::kernels::NV_ISA
