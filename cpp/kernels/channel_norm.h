// SPDX-License-Identifier: BSD-3-Clause
// Normalisation of channels-last arrays (instances, rows, channels): batch normalisation is one instance with every
// channel a group; instance normalisation has one per image; group normalisation joins neighbouring channels.
//
//   y = activation((x - mean) rstd weight + bias),  rstd = 1 / sqrt(variance + eps),
//
// mean and (biased) variance over the rows and channels of a group. Statistics are arrays (instances, groups). The mean
// is kept as the sum of two floats, mean + tail: x - mean is then exact where |mean| is much greater than the spread.
// Partial sums are relative to a value of their own block and added up in double precision, in a fixed order.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

struct ChannelNorm {
  std::int64_t instances, rows, channels, groups;
  const float *weight, *bias;  // of each channel; null: 1, 0
  bool relu;                   // the activation; none otherwise

  std::int64_t instance_size() const { return rows * channels; }
};

struct NormStatistics {
  const float *mean, *tail, *rstd;  // tail null: 0
};
struct NormStatisticsOut {
  float *mean, *tail, *rstd;
  float* variance;  // may be null
};

/// Statistics of x and y from them. rows >= 1.
NV_KERNEL(channel_norm_forward, ChannelNorm norm, double eps, const float* x, float* y, NormStatisticsOut statistics)
/// y from given statistics.
NV_KERNEL(channel_norm_apply, ChannelNorm norm, NormStatistics statistics, const float* x, float* y)
/// dx, dweight and dbias (each may be null) from the input and dy; `own`: the statistics are those of x and change with
/// it. With d = dy activation' and h = (x - mean) rstd: dbias = Σ d, dweight = Σ d h,
/// dx = rstd (weight d - mean(weight d) - h mean(weight d h)), the means only when `own`.
NV_KERNEL(channel_norm_backward, ChannelNorm norm, NormStatistics statistics, bool own, const float* x, const float* dy,
          float* dx, float* dweight, float* dbias)

/// out = 1 / sqrt(variance + eps).
NV_KERNEL(reciprocal_deviation, std::int64_t n, double eps, const float* variance, float* out)
/// running = (1 - momentum) running + momentum (mean over instances of `values` scale), for n channels.
NV_KERNEL(update_running, std::int64_t instances, std::int64_t n, double momentum, double scale, const float* values,
          float* running)

}  // namespace nervure::kernels
