// SPDX-License-Identifier: BSD-3-Clause
// Softmax and cross-entropy in one pass that leaves the loss of each row and, if wanted, its gradient. Per row,
//   loss = Σ_c q_c (log Σ exp(x - max) - (x_c - max)),   dx = (softmax(x) Σ q - q) / divisor
// where q is the weighted target distribution. x and dx (rows, classes); dx may be null but not x;
// *divisor counts as 1 where divisor is null.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

struct CrossEntropyShape {
  std::int64_t rows, classes;
};

struct CrossEntropyOptions {
  const float* weight;        // (classes) or null
  std::int64_t ignore_index;  // rows with this target have loss and gradient 0
  float label_smoothing;      // in [0, 1]
};

/// The first row whose target is neither in [0, classes) nor ignore_index; -1 when there is none.
NV_KERNEL_RETURNING(std::int64_t, find_invalid_target, const std::int64_t* target, CrossEntropyShape shape,
                    std::int64_t ignore_index)
/// total = Σ weight[target] over the rows that are not ignored (weight null: their number).
NV_KERNEL(target_weight_sum, const std::int64_t* target, std::int64_t rows, const float* weight,
          std::int64_t ignore_index, float* total)

/// q = weight (label_smoothing / classes + (1 - label_smoothing) [c = target]).
NV_KERNEL(cross_entropy_forward, CrossEntropyShape shape, const float* x, const std::int64_t* target,
          CrossEntropyOptions options, const float* divisor, float* loss, float* dx)
/// q = weight (label_smoothing / classes + (1 - label_smoothing) target), target (rows, classes).
NV_KERNEL(cross_entropy_probabilities_forward, CrossEntropyShape shape, const float* x, const float* target,
          CrossEntropyOptions options, const float* divisor, float* loss, float* dx)
/// dx *= dy in place, dy one value or, if per_row, one for each row. Leaves alone what would be multiplied by 1.
NV_KERNEL(cross_entropy_scale, CrossEntropyShape shape, const float* dy, bool per_row, float* dx)
/// dtarget = -dy (1 - label_smoothing) / divisor · weight · log_probabilities; in place allowed.
NV_KERNEL(cross_entropy_probabilities_target_backward, CrossEntropyShape shape, const float* log_probabilities,
          CrossEntropyOptions options, const float* divisor, const float* dy, bool per_row, float* dtarget)

// Negative log-likelihood of log-probabilities x (outer, classes, inner); target and loss (outer, inner).

struct NllShape {
  std::int64_t outer, classes, inner;
};

/// loss = -weight[target] x[target], 0 for ignored targets.
NV_KERNEL(nll_forward, NllShape shape, const float* x, const std::int64_t* target, CrossEntropyOptions options,
          float* loss)
/// dx = -weight[target] dy / divisor at the target, else 0; dy one value or, if per_row, (outer, inner).
NV_KERNEL(nll_backward, NllShape shape, const std::int64_t* target, CrossEntropyOptions options, const float* divisor,
          const float* dy, bool per_row, float* dx)

}  // namespace nervure::kernels
