// SPDX-License-Identifier: BSD-3-Clause
// Lines of pixels under a kernel of few taps and channels: the weights stay in the first-level cache, and one call
// computes a whole line, for a tile alone would be over too soon.
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// y[j, :] = activation(bias + Σ x[j * x_step + offset[run] + i] * weights[run * length + i, :]) for j < pixels.
struct ConvLine {
  const float* x;
  std::int64_t x_step;
  const std::int64_t* offset;  // of the runs
  std::int64_t runs, length;
  const float* weights;  // a packed panel of 1 or 2 vectors, zero behind the last column
  const float* bias;     // of its columns, or null
  float* y;
  std::int64_t y_step, pixels, columns;  // columns of the panel; its last vector may have fewer than kLanes
  bool relu;
  // Memory that is fetched into the cache meanwhile, so many floats for each pixel: what will be needed next; or null.
  const float* ahead;
  std::int64_t ahead_step;
};

/// Few enough products for weights in the first-level cache, and pixels of which tiles compute few twice.
bool is_short_line(std::int64_t products, std::int64_t pixels);
/// Panels of two vectors, the last one of one.
Panels cut_line_panels(std::int64_t columns);
/// The last tile of a line begins where it still fits: pixels that two tiles compute get the same bits twice.
void conv_line(int vectors, const ConvLine& line);

}  // namespace nervure::kernels::NV_ISA
