// SPDX-License-Identifier: BSD-3-Clause
// Weights as the products of Winograd's convolution want them.
#pragma once

#include <cstdint>

#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// G g Gᵀ in panels of output columns: [panel][point][depth][panel's width], zero past the last column, points
/// winograd_point_stride() apart.
/// Weights (taps, taps, channels, out_channels); `transposed` turns them by 180 degrees and exchanges the channels, for
/// the gradient of the data: depth is then out_channels, columns channels.
struct WinogradFilter {
  std::int64_t channels, out_channels;
  bool transposed;
  int tile, taps;

  std::int64_t depth() const { return transposed ? out_channels : channels; }
  std::int64_t columns() const { return transposed ? channels : out_channels; }
  std::int64_t points() const { return static_cast<std::int64_t>(tile + taps - 1) * (tile + taps - 1); }
};

/// At least depth * width, and such that all points of one row have places in the caches at the same time.
std::int64_t winograd_point_stride(std::int64_t depth, std::int64_t width);
std::int64_t winograd_filter_size(const WinogradFilter& filter, const Panels& panels);
void winograd_filter(const WinogradFilter& filter, const Panels& panels, const float* w, float* u);

}  // namespace nervure::kernels::NV_ISA
