// SPDX-License-Identifier: BSD-3-Clause
// One step of gated units from the sums of their gates, (rows, gates hidden) and `stride` floats from row to row.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// h' as in gru.h with reset_after; `input` holds x W_ih + b_ih, `recurrent` h W_hh + b_hh, 3 hidden apart.
NV_KERNEL(gru_cell_step, std::int64_t rows, std::int64_t hidden, const float* input, std::int64_t stride,
          const float* recurrent, const float* h, float* h_out)
/// c' and h' as in lstm.h, from the sums of both products and their biases.
NV_KERNEL(lstm_cell_step, std::int64_t rows, std::int64_t hidden, const float* gates, std::int64_t stride,
          const float* c, float* c_out, float* h_out)

}  // namespace nervure::kernels
