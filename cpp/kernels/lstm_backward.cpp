// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/lstm_cell.h"
#include "kernels/recurrent_gradients.h"
#include "kernels/recurrent_steps.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kNormalised = 16 * 1024;  // floats of rows to normalise, to a chunk

class Backward {
 public:
  Backward(const LstmLayer& layer, const LstmSaved& saved, const StepsIn& dy, const float* dh_n, const float* dc_n)
      : layer_(layer),
        s_(layer.sequence),
        saved_(saved),
        dy_(dy),
        H_(layer.hidden),
        P_(layer.output),
        S_(gate_stride(4 * layer.hidden)),
        extras_(layer.peephole || layer.zone_h.data || layer.zone_c.data),
        normed_(layer.norm.gain_ih != nullptr),
        recurrent_(layer.w_hh, 4 * H_, true, 4 * H_, 1, P_, s_.batch),
        projection_(layer.w_hr, P_, true, P_, 1, H_, s_.batch),
        dh_(s_, P_, dh_n),
        dc_(s_, H_, dc_n) {}

  void run(const LstmGradients& out) {
    const std::int64_t B = s_.batch;
    const core::Scratch<float> product(static_cast<std::size_t>(layer_.mask ? B * P_ : 1));
    const core::Scratch<float> hidden(static_cast<std::size_t>(layer_.w_hr ? B * H_ : 1));
    const core::Scratch<float> projected(static_cast<std::size_t>(layer_.w_hr ? s_.total * P_ : 1));
    const core::Scratch<float> c_new(static_cast<std::size_t>(layer_.peephole ? s_.total * H_ : 1));
    const core::Scratch<float> gates(static_cast<std::size_t>(s_.total * S_));
    const core::Scratch<float> recurrent(static_cast<std::size_t>(normed_ ? s_.total * S_ : 1));
    const core::Scratch<float> cell(static_cast<std::size_t>(normed_ ? s_.total * 2 * H_ : 1));
    dgates_ = gates.get();
    drecurrent_ = normed_ ? recurrent.get() : dgates_;
    dcell_ = cell.get();
    product_ = product.get();
    dhidden_ = layer_.w_hr ? hidden.get() : dh_.at(0);
    dprojected_ = projected.get();
    c_new_ = layer_.peephole ? c_new.get() : nullptr;
    if (normed_)
      walk_normalised();
    else
      walk();
    dh_.give(out.dh0);
    dc_.give(out.dc0);
    add_up(out);
  }

 private:
  void walk() {
    const Packing packing(recurrent_, true), packing_r(projection_, layer_.w_hr);
    const Split split = split_steps(s_, 4 * H_ * P_, recurrent_.panels(), !layer_.w_hr);
    const Walk walk{s_.steps, !s_.reverse};
    const std::int64_t width = recurrent_.panel_width();
    const StepFetch ahead(recurrent_, split, 4, H_, S_, dy_);
    over_time(s_, walk, split, recurrent_.panels(),
              [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
                Fetch fetch;
                if (i > 0 && i < s_.steps && ahead.is_possible())
                  aim(ahead, walk.at(i), running(s_, walk.at(i), first, last), panel * width, fetch);
                if (i > 0) through_time(walk.at(i - 1), running(s_, walk.at(i - 1), first, last), panel, end, fetch);
                if (i == s_.steps) return;
                const std::int64_t t = walk.at(i);
                const RowRange rows = running(s_, t, first, last);
                if (layer_.w_hr) project(t, rows);
                step(t, rows, layer_.w_hr ? 0 : panel * width, layer_.w_hr ? H_ : smaller(end * width, H_));
              });
  }

  /// A row's gradients are sums over all of its units: formed before the units are cut among threads.
  void walk_normalised() {
    const Packing packing(recurrent_, true), packing_r(projection_, layer_.w_hr);
    const Split split = split_steps(s_, 4 * H_ * P_, recurrent_.panels(), !layer_.w_hr);
    const Walk walk{s_.steps, !s_.reverse};
    over_time(
        s_, walk, split, recurrent_.panels(), s_.steps, s_.steps,
        [](std::int64_t, std::int64_t, std::int64_t, std::int64_t) {},
        [&](std::int64_t i, std::int64_t first, std::int64_t last) {
          const std::int64_t t = walk.at(i);
          const RowRange rows = running(s_, t, first, last);
          if (layer_.w_hr) project(t, rows);
          core::parallel_for(
              rows.size(), kNormalised / larger(4 * H_, 1) + 1,
              [&](std::int64_t begin, std::int64_t end) { step(t, {rows.begin + begin, rows.begin + end}, 0, H_); });
        },
        [&](std::int64_t i, std::int64_t first, std::int64_t last, std::int64_t panel, std::int64_t end) {
          Fetch none;
          through_time(walk.at(i), running(s_, walk.at(i), first, last), panel, end, none);
        });
  }

  NormalisedRow normalised_row(std::int64_t row) const {
    return {saved_.norm_ih + row * S_, saved_.norm_hh + row * S_, saved_.statistics + row * 4};
  }

  /// What step t reads and writes of `rows`, from column u on.
  void aim(const StepFetch& step, std::int64_t t, RowRange rows, std::int64_t u, Fetch& fetch) const {
    if (rows.size() == 0) return;
    const std::int64_t packed = s_.offset[t] + rows.begin;
    const float* const dy = row_of_steps(s_, dy_, t, rows.begin);
    step.aim(rows.size(), saved_.gates + packed * S_ + u, dgates_ + packed * S_ + u, dy ? dy + u : nullptr,
             saved_.c + packed * H_ + u, fetch);
  }

  /// dh (+)= m (d(gates) W_hh^T) of the step t that was just done.
  void through_time(std::int64_t t, RowRange rows, std::int64_t first, std::int64_t last, Fetch& fetch) {
    if (rows.size() == 0) return;
    fetch.be_late(recurrent_.fetching_tiles(first, last, rows.size()));
    const float* const d = drecurrent_ + (s_.offset[t] + rows.begin) * S_;
    float* const to = layer_.mask ? product_ + rows.begin * P_ : dh_.at(rows.begin);
    const bool carried = layer_.zone_h.data && !layer_.mask;
    for (std::int64_t panel = first; panel < last; ++panel)
      recurrent_.multiply(0, panel, d, S_, rows.size(), to, P_, carried, nullptr, &fetch);
    if (!layer_.mask) return;
    const std::int64_t begin = first * recurrent_.panel_width(), end = smaller(last * recurrent_.panel_width(), P_);
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const mask = layer_.mask + s_.row[j] * P_;
      for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf direct = layer_.zone_h.data ? load_some(dh_.at(j) + u, n) : vf{};
        store_some(dh_.at(j) + u, fma(load_some(mask + u, n), load_some(product_ + j * P_ + u, n), direct), n);
      });
    }
  }

  /// The gradients of the outputs, then those before the projection.
  void project(std::int64_t t, RowRange rows) {
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const float* const dy = row_of_steps(s_, dy_, t, j);
      float* const total = dprojected_ + (s_.offset[t] + j) * P_;
      for_vectors(0, P_, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
        const vf d = load_some(dh_.at(j) + u, n);
        store_some(total + u, dy ? d + load_some(dy + u, n) : d, n);
      });
    }
    for (std::int64_t panel = 0; panel < projection_.panels(); ++panel)
      projection_.multiply(0, panel, dprojected_ + (s_.offset[t] + rows.begin) * P_, P_, rows.size(),
                           dhidden_ + rows.begin * H_, H_, false, nullptr);
  }

  void step(std::int64_t t, RowRange rows, std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = rows.begin; j < rows.end; ++j) {
      const std::int64_t row = s_.row[j], packed = s_.offset[t] + j;
      const Zoneout &h = layer_.zone_h, &c = layer_.zone_c;
      const LstmCellGradients cell{saved_.gates + packed * S_,
                                   dgates_ + packed * S_,
                                   dhidden_ + j * H_,
                                   dc_.at(j),
                                   c_new_ ? c_new_ + packed * H_ : nullptr,
                                   saved_.c + packed * H_,
                                   layer_.w_hr ? nullptr : row_of_steps(s_, dy_, t, j),
                                   h.data ? h.data + row * h.row_step + t * h.time_step : nullptr,
                                   c.data ? c.data + row * c.row_step + t * c.time_step : nullptr};
      if (normed_)
        update_normalised_backward(layer_, cell, normalised_row(packed), drecurrent_ + packed * S_,
                                   dcell_ + packed * 2 * H_);
      else if (extras_)
        update<true>(cell, begin, end);
      else
        update<false>(cell, begin, end);
    }
  }

  template <bool Extras>
  void update(const LstmCellGradients& cell, std::int64_t begin, std::int64_t end) const {
    const std::int64_t H = H_;
    const float* const p = Extras ? layer_.peephole : nullptr;
    for_vectors(begin, end, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
      const float* const gates = cell.gates + u;
      float* const d = cell.d + u;
      const vf i = load_some(gates, n), f = load_some(gates + H, n), g = load_some(gates + 2 * H, n),
               o = load_some(gates + 3 * H, n), c = load_some(cell.c + u, n);
      vf dh = load_some(cell.dh + u, n), dc = load_some(cell.dc + u, n), past_dc{};
      if (cell.dy) dh += load_some(cell.dy + u, n);
      if (Extras && cell.zone_h) {
        const vf kept = dh * zone_share(layer_.zone_h, cell.zone_h, u, n);
        store_some(cell.dh + u, kept, n);
        dh -= kept;
      }
      if (Extras && cell.zone_c) {
        past_dc = dc * zone_share(layer_.zone_c, cell.zone_c, u, n);
        dc -= past_dc;
      }
      const vf c_new = fma(f, c, i * g), squashed = tanh(c_new);
      const vf d_o = dh * squashed * (o * (1.0f - o));
      dc = fma(dh * o, 1.0f - squashed * squashed, dc);
      if (Extras && p) {
        dc = fma(d_o, load_some(p + 2 * H + u, n), dc);
        store_some(cell.c_new + u, c_new, n);
      }
      const vf d_i = dc * g * (i * (1.0f - i)), d_f = dc * c * (f * (1.0f - f)), d_g = dc * i * (1.0f - g * g);
      past_dc = fma(dc, f, past_dc);
      if (Extras && p) past_dc = fma(d_i, load_some(p + u, n), fma(d_f, load_some(p + H + u, n), past_dc));
      store_some(cell.dc + u, past_dc, n);
      store_some(d, d_i, n);
      store_some(d + H, d_f, n);
      store_some(d + 2 * H, d_g, n);
      store_some(d + 3 * H, d_o, n);
    });
  }

  void add_up(const LstmGradients& out) const {
    const GateGradients d{dgates_, s_.total, 4 * H_, S_}, recurrent{drecurrent_, s_.total, 4 * H_, S_};
    if (out.dpeephole) {
      column_products({dgates_, s_.total, H_, S_}, saved_.c, H_, out.dpeephole);
      column_products({dgates_ + H_, s_.total, H_, S_}, saved_.c, H_, out.dpeephole + H_);
      column_products({dgates_ + 3 * H_, s_.total, H_, S_}, c_new_, H_, out.dpeephole + 2 * H_);
    }
    const LeftFactor x{layer_.x, layer_.input, out.dw_ih}, h{saved_.h, P_, out.dw_hh};
    if (normed_) {
      through_normalisation(out);
      weight_gradient(x, 4 * H_, d, nullptr);
      weight_gradient(h, 4 * H_, recurrent, nullptr);
    } else {
      weight_gradients({x, h}, 4 * H_, d, out.db);
    }
    if (out.dw_hr) weight_gradient({saved_.hidden, H_, out.dw_hr}, P_, {dprojected_, s_.total, P_, P_}, nullptr);
    if (out.dx) input_gradient(d, layer_.w_ih, 4 * H_, layer_.input, out.add_dx, out.dx);
  }

  /// The gains' gradients; then dgates_ turns from the gradients of the normalised x W_ih into those of x W_ih.
  void through_normalisation(const LstmGradients& out) const {
    const GateGradients d{dgates_, s_.total, 4 * H_, S_};
    if (out.db) column_sums(d, out.db);
    if (out.dgain_ih) column_products(d, saved_.norm_ih, S_, out.dgain_ih);
    if (out.dgain_hh) column_products(d, saved_.norm_hh, S_, out.dgain_hh);
    if (out.dbias_c) column_sums({dcell_, s_.total, H_, 2 * H_}, out.dbias_c);
    if (out.dgain_c) column_sums({dcell_ + H_, s_.total, H_, 2 * H_}, out.dgain_c);
    core::parallel_for(s_.total, kNormalised / larger(4 * H_, 1) + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row)
        normalise_input_backward(layer_, normalised_row(row), dgates_ + row * S_);
    });
  }

  const LstmLayer& layer_;
  const Sequence& s_;
  const LstmSaved& saved_;
  const StepsIn& dy_;
  std::int64_t H_, P_, S_;
  bool extras_, normed_;
  Factor recurrent_, projection_;
  StateGradient dh_, dc_;
  float *dgates_ = nullptr, *product_ = nullptr, *dhidden_ = nullptr, *dprojected_ = nullptr, *c_new_ = nullptr,
        *drecurrent_ = nullptr, *dcell_ = nullptr;
};

}  // namespace

void lstm_backward(const LstmLayer& layer, const LstmSaved& saved, const StepsIn& dy, const float* dh_n,
                   const float* dc_n, const LstmGradients& gradients) {
  Backward(layer, saved, dy, dh_n, dc_n).run(gradients);
}

}  // namespace nervure::kernels::NV_ISA
