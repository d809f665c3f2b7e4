// SPDX-License-Identifier: BSD-3-Clause
// Gradients of weights under a kernel that slides pixel by pixel: every pixel of x meets the taps of a kernel row in
// one go, with as many pixels of dy, which stay in registers. One load feeds several products.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {

/// Rows of pixels. Row i of dy begins at dy + i * columns * dy_step; its first tap sees x at rows[i] behind the place
/// of each factor, and x_step further for every pixel.
struct SlideRows {
  const std::int64_t* rows;
  std::int64_t count, columns;  // columns >= taps - 1
  std::int64_t x_step;
  const float* dy;
  std::int64_t dy_step;
  std::int64_t lanes;  // output channels, 1 .. kLanes
};

constexpr int kSlideFactors = 8;

/// How many factors, rows of the kernel or input channels, a call for so many taps takes: at most kSlideFactors. 0:
/// there is no kernel for them.
int slide_factors(std::int64_t taps);

/// sum[i][s * tap_step + lane] (+)= Σ x[i][rows[row] + (j + s) * x_step] dy[row, j, lane] over all pixels, for s < taps
/// and i < factors. The sums overlap neither x nor dy.
void slide(std::int64_t taps, int factors, const SlideRows& rows, const float* const* x, float* const* sum,
           std::int64_t tap_step, bool accumulate);

}  // namespace nervure::kernels::NV_ISA
