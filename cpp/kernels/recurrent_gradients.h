// SPDX-License-Identifier: BSD-3-Clause
// The products over all steps at once that end every backward through time.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels::NV_ISA {

/// Gradients of pre-activations, packed: `columns` of rows of `stride` floats.
struct GateGradients {
  const float* data;
  std::int64_t rows, columns, stride;
};

/// dw (+)= a^T d for a of (rows, width), dw of (width, dw_stride).
void weight_gradient(const float* a, std::int64_t width, const GateGradients& d, float* dw, std::int64_t dw_stride);
/// dx = d w^T (+ dx), w of (width, w_stride).
void input_gradient(const GateGradients& d, const float* w, std::int64_t w_stride, std::int64_t width, bool add,
                    float* dx);
/// sums[k] = the sum over all rows of d[k].
void column_sums(const GateGradients& d, float* sums);
/// sums[k] = the sum over all rows of d[k] c[k], c of (rows, c_stride).
void column_products(const GateGradients& d, const float* c, std::int64_t c_stride, float* sums);

}  // namespace nervure::kernels::NV_ISA
