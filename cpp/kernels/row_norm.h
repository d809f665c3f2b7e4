// SPDX-License-Identifier: BSD-3-Clause
// Normalisation of every row of (rows, n): layer normalisation, y = (x - mean) rstd weight + bias with
// rstd = 1 / sqrt(variance + eps), and by the root of the mean square, y = x rstd weight with
// rstd = 1 / sqrt(mean(x^2) + eps). weight and bias (n) may be null.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

struct RowNorm {
  std::int64_t rows, n;
  const float *weight, *bias;
  bool centered;  // layer normalisation

  /// Statistics of a row: mean, tail and rstd (mean + tail is the mean), or rstd alone.
  std::int64_t statistics() const { return centered ? 3 : 1; }
};

/// `statistics` (rows, norm.statistics()). n >= 1.
NV_KERNEL(row_norm_forward, RowNorm norm, double eps, const float* x, float* y, float* statistics)
/// dx, dweight, dbias (each may be null). With g = weight dy and h = (x - mean) rstd: dbias = Σ dy, dweight = Σ dy h,
/// dx = rstd (g - mean(g) - h mean(g h)), without mean(g) when not centred.
NV_KERNEL(row_norm_backward, RowNorm norm, const float* statistics, const float* x, const float* dy, float* dx,
          float* dweight, float* dbias)

}  // namespace nervure::kernels
