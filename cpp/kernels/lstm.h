// SPDX-License-Identifier: BSD-3-Clause
// One direction of one LSTM layer over all steps, and its backward through time.
//
//   (i, f, g, o) = x W_ih + b_ih + h W_hh + b_hh      gates of `hidden` columns each, PyTorch's order
//   i, f, o = sigmoid, g = tanh;  c' = f c + i g;  h' = o tanh(c');  output h', or h' W_hr when projected
//   peepholes p:  i += p_i c, f += p_f c, o += p_o c'
//   recurrent mask m (the same at all steps):  (m h) W_hh for h W_hh
//   zoneout z (masks, or their mean):  c' + z_c (c - c') for c', h' + z_h (h - h') for h'
//   layer normalisation:  N(x W_ih; a_ih) + b_ih + N(h W_hh; a_hh) + b_hh for the sums of all gates, and
//     h' = o tanh(N(c'; a_c) + b_c);  N(v; a) = a (v - mean(v)) / sqrt(variance(v) + 1e-5) over all of a row's v
#pragma once

#include "kernels/recurrent.h"

namespace nervure::kernels {

/// One number for each unit of each step and row, or one for all.
struct Zoneout {
  const float* data = nullptr;  // null: none
  std::int64_t row_step = 0, time_step = 0, unit_step = 0;
};

/// The gains of a normalised layer; null: not normalised.
struct LstmNorm {
  const float *gain_ih = nullptr, *gain_hh = nullptr;  // (4 hidden)
  const float *gain_c = nullptr, *bias_c = nullptr;    // (hidden); the bias may be null
};

struct LstmLayer {
  Sequence sequence;
  std::int64_t input, hidden, output;  // output = hidden unless projected
  const float *w_ih, *w_hh;            // (input, 4 hidden), (output, 4 hidden)
  const float *b_ih, *b_hh;            // (4 hidden), or null
  const float* w_hr;                   // (hidden, output), or null: not projected
  const float* peephole;               // (3 hidden): of i, f, o; or null
  const float* mask;                   // (batch, output), or null
  Zoneout zone_h, zone_c;              // not when projected
  const float* x;                      // packed, (total, input)
  const float *h0, *c0;                // (batch, output), (batch, hidden); null: zeros
  LstmNorm norm;
};

/// What the backward needs. Rows are packed rows; without `keep` only `gates` has all of them, the states those of two
/// steps.
struct LstmSaved {
  float* gates;   // (total, gate_stride(4 hidden)): after the non-linearities
  float* h;       // (total or 2 batch, output): entering the step, times the mask
  float* c;       // (total or 2 batch, hidden): entering the step
  float* h_raw;   // like h, without the mask; only when there are mask and zoneout
  float* hidden;  // (total, hidden): before the projection; only when projected
  bool keep;
  // Only of a normalised layer, and with `keep`: N(x W_ih; 1) and N(h W_hh; 1), (total, gate_stride(4 hidden)); and the
  // deviations' inverses of these two, the cell's mean, and the inverse of its deviation, (total, 4).
  float *norm_ih = nullptr, *norm_hh = nullptr, *statistics = nullptr;
};

struct LstmGradients {
  float* dx;             // packed (total, input), or null
  bool add_dx;           // to what dx holds
  float *dh0, *dc0;      // never null
  float *dw_ih, *dw_hh;  // each may be null
  float* db;             // (4 hidden), or null
  float* dw_hr;          // or null
  float* dpeephole;      // or null
  float *dgain_ih = nullptr, *dgain_hh = nullptr, *dgain_c = nullptr, *dbias_c = nullptr;  // each may be null
};

/// y, h_n (batch, output) and c_n (batch, hidden). Padding of y is not written.
NV_KERNEL(lstm_forward, const LstmLayer& layer, const LstmSaved& saved, const StepsOut& y, float* h_n, float* c_n)
/// dy, dh_n, dc_n may be null: zeros.
NV_KERNEL(lstm_backward, const LstmLayer& layer, const LstmSaved& saved, const StepsIn& dy, const float* dh_n,
          const float* dc_n, const LstmGradients& gradients)

}  // namespace nervure::kernels
