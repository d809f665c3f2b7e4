// SPDX-License-Identifier: BSD-3-Clause
// Losses that compare two arrays element by element. All arrays of one call hold n elements in the same order.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

enum class PointwiseLoss {
  mse,                               // (x - t)²
  l1,                                // |x - t|
  huber,                             // with z = |x - t|, p = parameter: z²/2 if z < p, else p (z - p/2)
  smooth_l1,                         // huber / p
  binary_cross_entropy,              // -t log x - (1 - t) log(1 - x), both logarithms at least -100
  binary_cross_entropy_with_logits,  // pos_weight t log(1 + e^-x) + (1 - t) log(1 + e^x)
  kl_div,                            // t (log t - x), x being log-probabilities; 0, with derivatives 0, where t = 0
  kl_div_log_target                  // e^t (t - x)
};

struct PointwiseInputs {
  const float* x;
  const float* target;
  const float* weight;      // multiplies the binary cross-entropies; null: 1
  const float* pos_weight;  // null: 1
  float parameter;
};

/// total = Σ loss / divisor as a fixed tree.
NV_KERNEL(pointwise_loss_total, PointwiseLoss kind, PointwiseInputs inputs, std::int64_t n, float divisor, float* total)
/// loss of every element; may be written over an input.
NV_KERNEL(pointwise_loss_each, PointwiseLoss kind, PointwiseInputs inputs, std::int64_t n, float* loss)
/// Gradients with respect to x and to target (either may be null), times dy / divisor; dy one value or, if
/// per_element, n. May be written over an input.
NV_KERNEL(pointwise_loss_backward, PointwiseLoss kind, PointwiseInputs inputs, std::int64_t n, float divisor,
          const float* dy, bool per_element, float* dx, float* dtarget)
/// Whether no value is below 0 or above 1 (a NaN is neither).
NV_KERNEL_RETURNING(bool, in_unit_interval, const float* x, std::int64_t n)

}  // namespace nervure::kernels
