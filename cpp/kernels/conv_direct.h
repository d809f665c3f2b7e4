// SPDX-License-Identifier: BSD-3-Clause
// Convolution without a matrix of patches: tiles read pixels where they lie, in the image or in a copy of some of its
// rows with zeros around them. Serves every geometry.
#pragma once

#include "kernels/conv.h"

namespace nervure::kernels::NV_ISA {

// As conv_forward(), conv_backward_data() and conv_backward_weight(). The gradient of the data is a sum over the same
// taps: for strides, one for each residue of the pixel's place, each with its own part of the kernel.
void direct_forward(const Conv& conv, const float* x, const float* w, const float* bias, Activation activation,
                    float* y);
void direct_backward_data(const Conv& conv, const float* dy, const float* w, const float* bias, Activation activation,
                          float* dx);
void direct_backward_weight(const Conv& conv, const float* x, const float* dy, float* dw);

}  // namespace nervure::kernels::NV_ISA
