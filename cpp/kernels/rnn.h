// SPDX-License-Identifier: BSD-3-Clause
// One direction of one plain recurrent layer over all steps, and its backward through time.
//
//   h' = f(x W_ih + b_ih + h W_hh + b_hh),  f = tanh or max(0, .)
#pragma once

#include "kernels/recurrent.h"

namespace nervure::kernels {

struct RnnLayer {
  Sequence sequence;
  std::int64_t input, hidden;
  bool relu;                 // else tanh
  const float *w_ih, *w_hh;  // (input, hidden), (hidden, hidden)
  const float *b_ih, *b_hh;  // (hidden), or null
  const float* x;            // packed, (total, input)
  const float* h0;           // (batch, hidden); null: zeros
};

struct RnnSaved {
  // Entering the steps, then the final ones in the order of falling length: (total + batch, hidden); without `keep`
  // those of two steps, (2 batch, hidden).
  float* h;
  bool keep;
};

struct RnnGradients {
  float* dx;             // packed (total, input), or null
  bool add_dx;           // to what dx holds
  float* dh0;            // never null
  float *dw_ih, *dw_hh;  // each may be null
  float* db;             // (hidden), or null
};

/// y and h_n (batch, hidden). Padding of y is not written.
NV_KERNEL(rnn_forward, const RnnLayer& layer, const RnnSaved& saved, const StepsOut& y, float* h_n)
/// dy and dh_n may be null: zeros.
NV_KERNEL(rnn_backward, const RnnLayer& layer, const RnnSaved& saved, const StepsIn& dy, const float* dh_n,
          const RnnGradients& gradients)

}  // namespace nervure::kernels
