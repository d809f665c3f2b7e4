// SPDX-License-Identifier: BSD-3-Clause
// One row at one step of an LSTM, and what layer normalisation does to it. Every row is one thread's work: the sums
// over its units are formed in an order that depends on their number alone.
#pragma once

#include "core/vmath.h"
#include "kernels/lanes.h"
#include "kernels/lstm.h"

namespace nervure::kernels::NV_ISA {

struct LstmCell {
  float* gates;  // i of the first unit; the others `hidden` further each
  const float *c, *h;
  float *c_out, *h_out, *h_raw_out, *y;
  const float *mask, *zone_h, *zone_c;
};

struct LstmCellGradients {
  const float* gates;
  float *d, *dh, *dc, *c_new;
  const float *c, *dy, *zone_h, *zone_c;
};

/// One row of what LstmSaved keeps; `input` and `statistics` are null without a backward.
struct NormalisedRow {
  float *input, *recurrent, *statistics;
};

/// gates: x W_ih to N(x W_ih) + bias; the bias may be null.
void normalise_input(const LstmLayer& layer, const float* bias, float* gates, const NormalisedRow& row);
/// The new states, from N(x W_ih) + bias in the gates and h W_hh in row.recurrent.
void update_normalised(const LstmLayer& layer, const LstmCell& cell, const NormalisedRow& row);
/// cell.d, cell.dc as without normalisation; drecurrent: the gradient of h W_hh; dcell: of N(c') + b_c, and behind it
/// these times N(c'; 1), `hidden` floats each.
void update_normalised_backward(const LstmLayer& layer, const LstmCellGradients& cell, const NormalisedRow& row,
                                float* drecurrent, float* dcell);
/// d: the gradient of N(x W_ih) to that of x W_ih.
void normalise_input_backward(const LstmLayer& layer, const NormalisedRow& row, float* d);

namespace {

NV_INLINE vf zone_share(const Zoneout& zoneout, const float* data, std::int64_t u, std::int64_t n) {
  return zoneout.unit_step ? load_some(data + u, n) : broadcast(data[0]);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
