// SPDX-License-Identifier: BSD-3-Clause
// Convolution of few pixels with many weights: for every tap of the kernel a product of the pixels that it sees inside
// the image with its weights. Weights are read once and in the order of memory, whatever the number of images, and no
// zero outside an image is multiplied. One group only.
#pragma once

#include "kernels/conv.h"

namespace nervure::kernels::NV_ISA {

// As conv_forward(), conv_backward_data() and conv_backward_weight(), without bias and activation.
void taps_forward(const Conv& conv, const float* x, const float* w, float* y);
void taps_backward_data(const Conv& conv, const float* dy, const float* w, float* dx);
void taps_backward_weight(const Conv& conv, const float* x, const float* dy, float* dw);

}  // namespace nervure::kernels::NV_ISA
