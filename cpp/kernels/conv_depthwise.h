// SPDX-License-Identifier: BSD-3-Clause
// Convolution of each channel by itself: groups = C = K. Vectors run over channels; borders are cut, not padded.
#pragma once

#include "kernels/conv.h"

namespace nervure::kernels::NV_ISA {

// As conv_forward(), conv_backward_data() and conv_backward_weight().
void depthwise_forward(const Conv& conv, const float* x, const float* w, const float* bias, Activation activation,
                       float* y);
void depthwise_backward_data(const Conv& conv, const float* dy, const float* w, const float* bias,
                             Activation activation, float* dx);
void depthwise_backward_weight(const Conv& conv, const float* x, const float* dy, float* dw);

}  // namespace nervure::kernels::NV_ISA
