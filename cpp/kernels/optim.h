// SPDX-License-Identifier: BSD-3-Clause
// Optimiser steps over a whole list of parameters in one parallel region.
//
// The list is seen as one long vector: segment s takes places begin .. begin + size - 1 of it, where `begin` is rounded
// up to kSegmentAlign so that no vector straddles two parameters, and the vector is cut into chunks of kOptimChunk
// places. `total` is the end of the last segment. Every element is updated on its own, so nothing depends on the cuts.
//
// Below p is a parameter, g its gradient, t a soft threshold: after the update p <- sign(p) max(|p| - t, 0).
// `maximize` negates g; weight decay adds to g (coupled) or scales p first (decoupled). Scalars are read through the
// pointer when the kernel runs. All formulas are PyTorch's.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

inline constexpr std::int64_t kSegmentAlign = 16;
inline constexpr std::int64_t kOptimChunk = 16 * 1024;

struct Segment {
  float* parameter;
  float* gradient;  // written by the kernels that only clip
  float* state[3];  // what they hold is said at each kernel; null where the options need none
  std::int64_t begin, size;
};

struct Segments {
  const Segment* segment;
  std::int64_t count, total;
};

/// What all optimisers share: g <- min(max(g, -limit), limit), where a NaN stays; g <- sign * g + decay * p;
/// p <- shrink * p before the step, threshold after it.
struct UpdateScalars {
  float limit, sign, decay, shrink, threshold;
};

/// state[0] = momentum buffer b, or null for p <- p - lr g.
/// b <- g (first step) or momentum b + keep g; p <- p - lr b, with nesterov p <- p - lr (g + momentum b).
struct SgdScalars {
  UpdateScalars update;
  float lr, momentum, keep;  // keep = 1 - dampening
  bool nesterov, first_step;
};
NV_KERNEL(sgd_step, const Segments& segments, const SgdScalars* scalars);

/// state = {s, b or null, a or null}: s <- alpha s + (1 - alpha) g^2; centered (a): a <- alpha a + (1 - alpha) g,
/// v = s - a^2, else v = s; d = g / (sqrt(v) + eps); momentum (b): b <- momentum b + d, p <- p - lr b, else p <- p - lr
/// d.
struct RmspropScalars {
  UpdateScalars update;
  float lr, alpha, one_minus_alpha, eps, momentum;
};
NV_KERNEL(rmsprop_step, const Segments& segments, const RmspropScalars* scalars);

/// state = {s}: s <- s + g^2; p <- p - lr g / (sqrt(s) + eps).
struct AdagradScalars {
  UpdateScalars update;
  float lr, eps;  // lr with its decay
};
NV_KERNEL(adagrad_step, const Segments& segments, const AdagradScalars* scalars);

/// state = {m, v, w or null}: m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; amsgrad (w): w <- max(w,
/// v), used in place of v. With c = correction, the inverse of sqrt(1 - beta2^step): Adam: p <- p - m_scale m / (c
/// sqrt(v) + eps), and NAdam, which has g_scale > 0: p <- p - (m_scale m + g_scale g) / (c sqrt(v) + eps).
struct AdamScalars {
  UpdateScalars update;
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  float correction, m_scale, g_scale;
};
NV_KERNEL(adam_step, const Segments& segments, const AdamScalars* scalars);
NV_KERNEL(nadam_step, const Segments& segments, const AdamScalars* scalars);

/// *norm = (sum |g|^order)^(1/order) over all gradients, or max |g| for an infinite order. Sums of squares and absolute
/// values are kept in double; partial sums are per chunk, added in order.
NV_KERNEL(gradient_norm, const Segments& segments, double order, double* norm);
/// g <- g * c with c = max_norm / (*norm + 1e-6), unless c >= 1 (a NaN norm makes every gradient NaN).
NV_KERNEL(clip_by_norm, const Segments& segments, double max_norm, const double* norm);
/// g <- min(max(g, -limit), limit); a NaN stays.
NV_KERNEL(clip_by_value, const Segments& segments, float limit);

}  // namespace nervure::kernels
