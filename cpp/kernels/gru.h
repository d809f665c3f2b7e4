// SPDX-License-Identifier: BSD-3-Clause
// One direction of one GRU layer over all steps, and its backward through time.
//
//   r, z = sigmoid(x W_ih + b_ih + h W_hh + b_hh)           gates of `hidden` columns each: r, z, n in the weights
//   n = tanh(x W_in + b_in + r (h W_hn + b_hn))             reset_after
//   n = tanh(x W_in + b_in + (r h) W_hn + b_hn)             otherwise
//   h' = n + z (h - n)
#pragma once

#include "kernels/recurrent.h"

namespace nervure::kernels {

struct GruLayer {
  Sequence sequence;
  std::int64_t input, hidden;
  bool reset_after;
  const float *w_ih, *w_hh;  // (input, 3 hidden), (hidden, 3 hidden)
  const float *b_ih, *b_hh;  // (3 hidden), or null
  const float* x;            // packed, (total, input)
  const float* h0;           // (batch, hidden); null: zeros
};

struct GruSaved {
  float* gates;  // (total, gate_stride(4 hidden)): n, r, z, and h W_hn + b_hn, or r h
  float* h;      // (total, or 2 batch without `keep`, hidden): entering the step
  bool keep;
};

struct GruGradients {
  float* dx;             // packed (total, input), or null
  bool add_dx;           // to what dx holds
  float* dh0;            // never null
  float *dw_ih, *dw_hh;  // each may be null
  float *db_ih, *db_hh;  // (3 hidden), both or none
};

/// y and h_n (batch, hidden). Padding of y is not written.
NV_KERNEL(gru_forward, const GruLayer& layer, const GruSaved& saved, const StepsOut& y, float* h_n)
/// dy and dh_n may be null: zeros.
NV_KERNEL(gru_backward, const GruLayer& layer, const GruSaved& saved, const StepsIn& dy, const float* dh_n,
          const GruGradients& gradients)

}  // namespace nervure::kernels
