// SPDX-License-Identifier: BSD-3-Clause
// Gradients of weights under a kernel that slides pixel by pixel: every pixel of x meets the taps of a kernel row in one
// go, with as many pixels of dy, which stay in registers. One load feeds several products.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {

/// Rows of pixels. Of row i, dy begins at dy + i * columns * dy_step, and x at rows[i] behind each of its factors.
struct SlideRows {
  const std::int64_t* rows;
  std::int64_t count, columns;  // columns >= the taps less one
  std::int64_t x_step, dy_step;
  const float* dy;
  std::int64_t lanes;  // output channels, 1 .. kLanes
};

constexpr int kSlideFactors = 8;  // at most, whatever the taps

/// Whether there is a kernel for so many taps, and how many factors it takes at most.
int slide_factors(std::int64_t taps);

/// sum[i][s * tap_step + lane] (+)= Σ x[i][... + (j + s) * x_step] dy[j], for `factors` places x[i] under the first tap.
void slide(std::int64_t taps, int factors, const SlideRows& rows, const float* const* x, float* const* sum,
           std::int64_t tap_step, bool accumulate);

}  // namespace nervure::kernels::NV_ISA
