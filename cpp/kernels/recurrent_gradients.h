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

/// A left factor of (rows, width), and where its product with the gradients goes: (width, dw_stride), or null.
struct LeftFactor {
  const float* a;
  std::int64_t width;
  float* dw;
};
/// dw = a^T d of both factors; sums[k] = the sum over all rows of d[k], or null.
struct WeightProduct {
  LeftFactor factors[2];
  GateGradients d;
  float* sums;
};
/// At most two, which write to different columns.
void weight_gradients(const WeightProduct* products, int count, std::int64_t dw_stride);
/// One product of two factors.
void weight_gradients(const LeftFactor (&factors)[2], std::int64_t dw_stride, const GateGradients& d, float* sums);
/// One product of one factor.
void weight_gradient(const LeftFactor& factor, std::int64_t dw_stride, const GateGradients& d, float* sums);
/// dx = d w^T (+ dx), w of (width, w_stride).
void input_gradient(const GateGradients& d, const float* w, std::int64_t w_stride, std::int64_t width, bool add,
                    float* dx);
/// sums[k] = the sum over all rows of d[k].
void column_sums(const GateGradients& d, float* sums);
/// sums[k] = the sum over all rows of d[k] c[k], c of (rows, c_stride).
void column_products(const GateGradients& d, const float* c, std::int64_t c_stride, float* sums);

}  // namespace nervure::kernels::NV_ISA
