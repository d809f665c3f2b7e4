// SPDX-License-Identifier: BSD-3-Clause
// Convolution as a product of matrices: patches of the image become rows of a matrix, a block of pixels at a time.
// Serves every geometry.
#pragma once

#include "kernels/conv.h"

namespace nervure::kernels::NV_ISA {

// As conv_forward(), conv_backward_data() and conv_backward_weight().
void im2col_forward(const Conv& conv, const float* x, const float* w, const float* bias, Activation activation,
                    float* y);
void im2col_backward_data(const Conv& conv, const float* dy, const float* w, const float* bias, Activation activation,
                          float* dx);
void im2col_backward_weight(const Conv& conv, const float* x, const float* dy, float* dw);

}  // namespace nervure::kernels::NV_ISA
