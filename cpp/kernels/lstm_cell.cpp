// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/lstm_cell.h"

#include "kernels/pairwise.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr float kEpsilon = 1e-5f;
enum Statistic : int { kInputRate, kRecurrentRate, kCellMean, kCellRate };

struct Normal {
  float mean, rate;  // rate = 1 / sqrt(variance + epsilon)
  [[gnu::always_inline]] inline vf of(vf v) const { return (v - broadcast(mean)) * broadcast(rate); }
};

template <class Map>
NV_INLINE float mean_of(std::int64_t n, const Map& map) {
  return fold_sum(tree_sum(0, n, map)) / static_cast<float>(n);
}

Normal normal_of(const float* x, std::int64_t n) {
  const float mean =
      mean_of(n, [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA { return load_some(x + i, count); });
  const float variance = mean_of(n, [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf distance = load_some(x + i, count) - broadcast(mean);
    return distance * distance;
  });
  return {mean, 1.0f / __builtin_sqrtf(variance + kEpsilon)};
}

/// The mean of g and of g v.
struct Means {
  float plain, product;
};

/// rate (g - mean(g) - v mean(g v)): the gradient of what was normalised to v, for the gradient g of v.
NV_INLINE vf normal_backward(vf g, vf v, const Means& means, float rate) {
  return broadcast(rate) * (g - broadcast(means.plain) - v * broadcast(means.product));
}

/// The same for a whole row: g = gain d, to `out`, which may be d.
void normal_backward(const float* d, const float* gain, const float* v, std::int64_t n, float rate, float* out) {
  const Means means{mean_of(n, [=](std::int64_t i, std::int64_t count)
                                   NV_INLINE_LAMBDA { return load_some(d + i, count) * load_some(gain + i, count); }),
                    mean_of(n, [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
                      return load_some(d + i, count) * load_some(gain + i, count) * load_some(v + i, count);
                    })};
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf g = load_some(d + i, count) * load_some(gain + i, count);
    store_some(out + i, normal_backward(g, load_some(v + i, count), means, rate), count);
  });
}

/// The gates after their non-linearities, and c' before zoneout in cell.c_out.
NV_INLINE void update_gates(const LstmLayer& layer, const LstmCell& cell, const Normal& normal, float* recurrent) {
  const std::int64_t H = layer.hidden;
  const float* const p = layer.peephole;
  for_vectors(0, H, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    float* const gates = cell.gates + u;
    vf sums[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const vf v = normal.of(load_some(recurrent + k * H + u, n));
      store_some(recurrent + k * H + u, v, n);
      sums[k] = fma(load_some(layer.norm.gain_hh + k * H + u, n), v, load_some(gates + k * H, n));
    }
    const vf c = load_some(cell.c + u, n);
    if (p) {
      sums[0] = fma(load_some(p + u, n), c, sums[0]);
      sums[1] = fma(load_some(p + H + u, n), c, sums[1]);
    }
    const vf i = sigmoid(sums[0]), f = sigmoid(sums[1]), g = tanh(sums[2]);
    const vf next = fma(f, c, i * g);
    if (p) sums[3] = fma(load_some(p + 2 * H + u, n), next, sums[3]);
    store_some(gates, i, n);
    store_some(gates + H, f, n);
    store_some(gates + 2 * H, g, n);
    store_some(gates + 3 * H, sigmoid(sums[3]), n);
    store_some(cell.c_out + u, next, n);
  });
}

NV_INLINE vf with_bias(vf v, const LstmNorm& norm, std::int64_t u, std::int64_t n) {
  const vf bias = norm.bias_c ? load_some(norm.bias_c + u, n) : vf{};
  return fma(load_some(norm.gain_c + u, n), v, bias);
}

}  // namespace

void normalise_input(const LstmLayer& layer, const float* bias, float* gates, const NormalisedRow& row) {
  const std::int64_t n = 4 * layer.hidden;
  const Normal normal = normal_of(gates, n);
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf v = normal.of(load_some(gates + i, count));
    if (row.input) store_some(row.input + i, v, count);
    const vf plus = bias ? load_some(bias + i, count) : vf{};
    store_some(gates + i, fma(load_some(layer.norm.gain_ih + i, count), v, plus), count);
  });
  if (row.statistics) row.statistics[kInputRate] = normal.rate;
}

void update_normalised(const LstmLayer& layer, const LstmCell& cell, const NormalisedRow& row) {
  const std::int64_t H = layer.hidden;
  const Normal recurrent = normal_of(row.recurrent, 4 * H);
  update_gates(layer, cell, recurrent, row.recurrent);
  const Normal inner = normal_of(cell.c_out, H);
  for_vectors(0, H, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    vf next = load_some(cell.c_out + u, n);
    vf h = load_some(cell.gates + 3 * H + u, n) * tanh(with_bias(inner.of(next), layer.norm, u, n));
    if (cell.zone_c) {
      next = fma(zone_share(layer.zone_c, cell.zone_c, u, n), load_some(cell.c + u, n) - next, next);
      store_some(cell.c_out + u, next, n);
    }
    if (cell.zone_h) h = fma(zone_share(layer.zone_h, cell.zone_h, u, n), load_some(cell.h + u, n) - h, h);
    store_some(cell.y + u, h, n);
    if (cell.h_raw_out) store_some(cell.h_raw_out + u, h, n);
    if (cell.mask) h *= load_some(cell.mask + u, n);
    store_some(cell.h_out + u, h, n);
  });
  if (!row.statistics) return;
  row.statistics[kRecurrentRate] = recurrent.rate;
  row.statistics[kCellMean] = inner.mean;
  row.statistics[kCellRate] = inner.rate;
}

namespace {

/// As far as the gradient of N(c') + b_c: d of o, dcell, and what zoneout leaves in dh.
NV_INLINE void output_backward(const LstmLayer& layer, const LstmCellGradients& cell, const Normal& inner,
                               float* dcell) {
  const std::int64_t H = layer.hidden;
  for_vectors(0, H, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    const float* const gates = cell.gates + u;
    const vf o = load_some(gates + 3 * H, n);
    const vf next =
        fma(load_some(gates + H, n), load_some(cell.c + u, n), load_some(gates, n) * load_some(gates + 2 * H, n));
    vf dh = load_some(cell.dh + u, n);
    if (cell.dy) dh += load_some(cell.dy + u, n);
    if (cell.zone_h) {
      const vf kept = dh * zone_share(layer.zone_h, cell.zone_h, u, n);
      store_some(cell.dh + u, kept, n);
      dh -= kept;
    }
    const vf v = inner.of(next), squashed = tanh(with_bias(v, layer.norm, u, n));
    const vf d = dh * o * (1.0f - squashed * squashed);
    store_some(cell.d + 3 * H + u, dh * squashed * (o * (1.0f - o)), n);
    store_some(dcell + u, d, n);
    store_some(dcell + H + u, d * v, n);
    if (cell.c_new) store_some(cell.c_new + u, next, n);
  });
}

/// The rest: d of i, f and g, and of the cell's old state.
NV_INLINE void gates_backward(const LstmLayer& layer, const LstmCellGradients& cell, const Normal& inner,
                              const float* dcell) {
  const std::int64_t H = layer.hidden;
  const float *const gain = layer.norm.gain_c, *const p = layer.peephole;
  const auto weighted = [=](const float* d) {
    return mean_of(H, [=](std::int64_t i, std::int64_t count)
                          NV_INLINE_LAMBDA { return load_some(d + i, count) * load_some(gain + i, count); });
  };
  const Means means{weighted(dcell), weighted(dcell + H)};
  for_vectors(0, H, [&](std::int64_t u, std::int64_t n) NV_INLINE_LAMBDA {
    const float* const gates = cell.gates + u;
    float* const d = cell.d + u;
    const vf i = load_some(gates, n), f = load_some(gates + H, n), g = load_some(gates + 2 * H, n),
             c = load_some(cell.c + u, n);
    vf dc = load_some(cell.dc + u, n), past_dc{};
    if (cell.zone_c) {
      past_dc = dc * zone_share(layer.zone_c, cell.zone_c, u, n);
      dc -= past_dc;
    }
    dc += normal_backward(load_some(dcell + u, n) * load_some(gain + u, n), inner.of(fma(f, c, i * g)), means,
                          inner.rate);
    if (p) dc = fma(load_some(d + 3 * H, n), load_some(p + 2 * H + u, n), dc);
    const vf d_i = dc * g * (i * (1.0f - i)), d_f = dc * c * (f * (1.0f - f));
    past_dc = fma(dc, f, past_dc);
    if (p) past_dc = fma(d_i, load_some(p + u, n), fma(d_f, load_some(p + H + u, n), past_dc));
    store_some(cell.dc + u, past_dc, n);
    store_some(d, d_i, n);
    store_some(d + H, d_f, n);
    store_some(d + 2 * H, dc * i * (1.0f - g * g), n);
  });
}

}  // namespace

void update_normalised_backward(const LstmLayer& layer, const LstmCellGradients& cell, const NormalisedRow& row,
                                float* drecurrent, float* dcell) {
  const Normal inner{row.statistics[kCellMean], row.statistics[kCellRate]};
  output_backward(layer, cell, inner, dcell);
  gates_backward(layer, cell, inner, dcell);
  normal_backward(cell.d, layer.norm.gain_hh, row.recurrent, 4 * layer.hidden, row.statistics[kRecurrentRate],
                  drecurrent);
}

void normalise_input_backward(const LstmLayer& layer, const NormalisedRow& row, float* d) {
  normal_backward(d, layer.norm.gain_ih, row.input, 4 * layer.hidden, row.statistics[kInputRate], d);
}

}  // namespace nervure::kernels::NV_ISA
