// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/lstm_cell.h"
#include "kernels/recurrent_steps.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kNormalised = 16 * 1024;  // floats of rows to normalise, to a chunk

class Forward {
 public:
  Forward(const LstmLayer& layer, const LstmSaved& saved, const StepsOut& y, float* h_n, float* c_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        y_(y),
        H_(layer.hidden),
        P_(layer.output),
        S_(gate_stride(4 * layer.hidden)),
        extras_(layer.peephole || layer.mask || layer.zone_h.data || layer.zone_c.data),
        normed_(layer.norm.gain_ih != nullptr),
        h_(s_, saved.h, P_, saved.keep, layer.h0, h_n),
        c_(s_, saved.c, H_, saved.keep, layer.c0, c_n),
        h_raw_(s_, saved.h_raw, P_, saved.keep, layer.h0, nullptr),
        recurrent_(layer.w_hh, 4 * H_, false, P_, 4, H_, s_.batch),
        projection_(layer.w_hr, P_, false, H_, 1, P_, s_.batch) {}

  void run() {
    const core::Scratch<float> bias(static_cast<std::size_t>(4 * H_));
    bias_ = add_biases(layer_.b_ih, layer_.b_hh, 4 * H_, bias.get());
    const InputProjection input(s_, layer_.x, layer_.input, layer_.w_ih, 4 * H_, normed_ ? nullptr : bias_, 0, 4 * H_,
                                saved_.gates, S_);
    const bool packs = s_.steps >= kFewSteps;
    const Packing packing(recurrent_, packs), packing_r(projection_, packs && layer_.w_hr);
    const Split split = split_steps(s_, 4 * H_ * P_, recurrent_.panels(), !layer_.w_hr);
    const core::Scratch<float> h_scratch(static_cast<std::size_t>(layer_.w_hr && !saved_.hidden ? s_.batch * H_ : 1));
    const core::Scratch<float> r_scratch(static_cast<std::size_t>(layer_.w_hr ? s_.batch * P_ : 1));
    h_scratch_ = h_scratch.get();
    r_scratch_ = r_scratch.get();
    h_.keep_others();
    c_.keep_others();
    if (normed_) return walk_normalised(input, split);
    const Walk walk{s_.steps, s_.reverse};
    over_time(
        s_, walk, split, recurrent_.panels(), input.block(split.rows), s_.steps,
        [&](std::int64_t i, std::int64_t end, std::int64_t first, std::int64_t last) {
          input.run(i, end, first, last);
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last) { begin(walk.at(i), first, last); },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          step(walk.at(i), running(s_, walk.at(i), first, last), panel, end);
        });
  }

 private:
  /// A step is finished when all of its recurrent product is there: at the beginning of the next.
  void walk_normalised(const InputProjection& input, const Split& split) {
    const core::Scratch<float> recurrent(static_cast<std::size_t>(saved_.keep ? 1 : s_.batch * S_));
    norm_scratch_ = recurrent.get();
    const Walk walk{s_.steps, s_.reverse};
    over_time(
        s_, walk, split, recurrent_.panels(), input.block(split.rows), s_.steps + 1,
        [&](std::int64_t i, std::int64_t end, std::int64_t first, std::int64_t last) {
          end = smaller(end, s_.steps);
          input.run(i, end, first, last);
          for (; i < end; ++i) normalise(walk.at(i), running(s_, walk.at(i), first, last));
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last) {
          if (i > 0) finish(walk.at(i - 1), running(s_, walk.at(i - 1), first, last));
          if (i < s_.steps) begin(walk.at(i), first, last);
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          if (i == s_.steps) return;
          const std::int64_t t = walk.at(i);
          const RowRange rows = running(s_, t, first, last);
          for (; panel < end && rows.size() > 0; ++panel)
            recurrent_.multiply_gates(panel, h_.at(t, rows.begin), P_, rows.size(), norm_at(t, rows.begin), S_, 0,
                                      nullptr);
        });
  }

  template <class Body>
  void over_rows(RowRange rows, const Body& body) const {
    core::parallel_for(rows.size(), kNormalised / larger(4 * H_, 1) + 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t j = rows.begin + first; j < rows.begin + last; ++j) body(j);
    });
  }

  void normalise(std::int64_t t, RowRange rows) const {
    over_rows(rows, [&](std::int64_t j) {
      normalise_input(layer_, bias_, saved_.gates + (s_.offset[t] + j) * S_, normalised_row(t, j));
    });
  }

  void finish(std::int64_t t, RowRange rows) {
    over_rows(rows, [&](std::int64_t j) { update_normalised(layer_, cell_of(t, j), normalised_row(t, j)); });
    if (layer_.w_hr && rows.size() > 0) project(t, rows);
  }

  float* norm_at(std::int64_t t, std::int64_t j) const {
    return saved_.keep ? saved_.norm_hh + (s_.offset[t] + j) * S_ : norm_scratch_ + j * S_;
  }

  NormalisedRow normalised_row(std::int64_t t, std::int64_t j) const {
    if (!saved_.keep) return {nullptr, norm_at(t, j), nullptr};
    const std::int64_t row = s_.offset[t] + j;
    return {saved_.norm_ih + row * S_, norm_at(t, j), saved_.statistics + row * 4};
  }

  /// The states of the rows that begin at step t.
  void begin(std::int64_t t, std::int64_t first, std::int64_t last) {
    const RowRange rows = h_.beginning(t, first, last);
    h_.begin(t, rows);
    c_.begin(t, rows);
    if (saved_.h_raw) h_raw_.begin(t, rows);
    if (!layer_.mask) return;
    for (std::int64_t j = rows.begin; j < rows.end; ++j)
      for (std::int64_t u = 0; u < P_; ++u) h_.at(t, j)[u] *= layer_.mask[s_.row[j] * P_ + u];
  }

  void step(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last) {
    if (rows.size() == 0) return;
    float* const gates = saved_.gates + (s_.offset[t] + rows.begin) * S_;
    for (std::int64_t panel = first; panel < last; ++panel) {
      recurrent_.multiply_gates(panel, h_.at(t, rows.begin), P_, rows.size(), gates, S_, 4, nullptr);
      const std::int64_t u = panel * recurrent_.panel_width();
      const std::int64_t end = smaller(u + recurrent_.panel_width(), H_);
      for (std::int64_t j = rows.begin; j < rows.end; ++j) {
        if (extras_)
          update_extras(cell_of(t, j), u, end);
        else
          update(cell_of(t, j), u, end);
      }
    }
    if (layer_.w_hr) project(t, rows);
  }

  float* hidden_at(std::int64_t t, std::int64_t j) const {
    return saved_.hidden ? saved_.hidden + (s_.offset[t] + j) * H_ : h_scratch_ + j * H_;
  }

  LstmCell cell_of(std::int64_t t, std::int64_t j) const {
    LstmCell cell{};
    cell.gates = saved_.gates + (s_.offset[t] + j) * S_;
    cell.c = c_.at(t, j);
    cell.c_out = c_.after(t, j);
    if (layer_.w_hr) {
      cell.h_out = cell.y = hidden_at(t, j);
      return cell;
    }
    cell.h_out = h_.after(t, j);
    cell.y = row_of_steps(s_, y_, t, j);
    if (extras_) add_extras(t, j, cell);
    return cell;
  }

  void add_extras(std::int64_t t, std::int64_t j, LstmCell& cell) const {
    const std::int64_t row = s_.row[j];
    const bool goes_on = h_.goes_on(t, j);
    if (saved_.h_raw) cell.h_raw_out = goes_on ? h_raw_.after(t, j) : nullptr;
    cell.h = saved_.h_raw ? h_raw_.at(t, j) : h_.at(t, j);
    cell.mask = goes_on && layer_.mask ? layer_.mask + row * P_ : nullptr;
    if (layer_.zone_h.data)
      cell.zone_h = layer_.zone_h.data + row * layer_.zone_h.row_step + t * layer_.zone_h.time_step;
    if (layer_.zone_c.data)
      cell.zone_c = layer_.zone_c.data + row * layer_.zone_c.row_step + t * layer_.zone_c.time_step;
  }

  // In two passes: one would wait for tanh(c') at the end of a chain that is longer than what a processor looks ahead.
  void update(const LstmCell& cell, std::int64_t begin, std::int64_t end) const {
    const std::int64_t H = H_;
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
      float* const gates = cell.gates + u;
      const vf i = sigmoid(load_some(gates, n)), f = sigmoid(load_some(gates + H, n)),
               g = tanh(load_some(gates + 2 * H, n)), o = sigmoid(load_some(gates + 3 * H, n));
      store_some(gates, i, n);
      store_some(gates + H, f, n);
      store_some(gates + 2 * H, g, n);
      store_some(gates + 3 * H, o, n);
      store_some(cell.c_out + u, fma(f, load_some(cell.c + u, n), i * g), n);
    });
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
      const vf h = load_some(cell.gates + 3 * H + u, n) * tanh(load_some(cell.c_out + u, n));
      store_some(cell.y + u, h, n);
      store_some(cell.h_out + u, h, n);
    });
  }

  /// The same with peepholes, mask and zoneout.
  void update_extras(const LstmCell& cell, std::int64_t begin, std::int64_t end) const {
    const std::int64_t H = H_;
    const float* const p = layer_.peephole;
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
      float* const gates = cell.gates + u;
      vf i = load_some(gates, n), f = load_some(gates + H, n), o = load_some(gates + 3 * H, n);
      const vf c = load_some(cell.c + u, n), g = tanh(load_some(gates + 2 * H, n));
      if (p) {
        i = fma(load_some(p + u, n), c, i);
        f = fma(load_some(p + H + u, n), c, f);
      }
      i = sigmoid(i);
      f = sigmoid(f);
      vf next = fma(f, c, i * g);
      if (p) o = fma(load_some(p + 2 * H + u, n), next, o);
      o = sigmoid(o);
      vf h = o * tanh(next);
      store_some(gates, i, n);
      store_some(gates + H, f, n);
      store_some(gates + 2 * H, g, n);
      store_some(gates + 3 * H, o, n);
      if (cell.zone_c) next = fma(zone_share(layer_.zone_c, cell.zone_c, u, n), c - next, next);
      if (cell.zone_h) h = fma(zone_share(layer_.zone_h, cell.zone_h, u, n), load_some(cell.h + u, n) - h, h);
      store_some(cell.c_out + u, next, n);
      store_some(cell.y + u, h, n);
      if (cell.h_raw_out) store_some(cell.h_raw_out + u, h, n);
      if (cell.mask) h *= load_some(cell.mask + u, n);
      store_some(cell.h_out + u, h, n);
    });
  }

  void project(std::int64_t t, RowRange rows) {
    float* const r = r_scratch_ + rows.begin * P_;
    for (std::int64_t panel = 0; panel < projection_.panels(); ++panel)
      projection_.multiply(0, panel, hidden_at(t, rows.begin), H_, rows.size(), r, P_, false, nullptr);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const out = r_scratch_ + j * P_;
      float* const h = h_.after(t, j);
      copy_row(out, P_, row_of_steps(s_, y_, t, j));
      copy_row(out, P_, h);
      if (layer_.mask && h_.goes_on(t, j))
        for (std::int64_t u = 0; u < P_; ++u) h[u] *= layer_.mask[s_.row[j] * P_ + u];
    }
  }

  const LstmLayer& layer_;
  const Sequence& s_;
  const LstmSaved& saved_;
  const StepsOut& y_;
  float *h_scratch_ = nullptr, *r_scratch_ = nullptr, *norm_scratch_ = nullptr;
  const float* bias_ = nullptr;
  std::int64_t H_, P_, S_;
  bool extras_, normed_;
  StateFlow h_, c_, h_raw_;
  Factor recurrent_, projection_;
};

}  // namespace

void lstm_forward(const LstmLayer& layer, const LstmSaved& saved, const StepsOut& y, float* h_n, float* c_n) {
  Forward(layer, saved, y, h_n, c_n).run();
}

}  // namespace nervure::kernels::NV_ISA
