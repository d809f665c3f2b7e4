// SPDX-License-Identifier: BSD-3-Clause
// Sweeps over the columns of (rows, channels). Few channels are read several rows at a time, as one wider row, so that
// vectors are whole whatever the number of channels. For kernel files.
#pragma once

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// `times` rows side by side: `width` columns, of which column j belongs to channel j % channels.
struct Fold {
  std::int64_t channels, times = 1, width;

  explicit Fold(std::int64_t channels_) : channels(channels_), width(channels_) {
    if (channels >= 4 * kLanes || channels == 0) return;
    while (times * channels % kLanes) ++times;
    while (times * channels < 4 * kLanes) times *= 2;
    width = times * channels;
  }

  /// Floats of an array of one value per column.
  std::int64_t padded() const { return ceil_div(width, kLanes) * kLanes; }
  /// Write the values of the channels behind themselves.
  void repeat(float* values) const {
    for (std::int64_t j = channels; j < width; ++j) values[j] = values[j - channels];
    for (std::int64_t j = width; j < padded(); ++j) values[j] = 0.0f;
  }
  /// The sum over the columns of a channel.
  double total(const float* sums, std::int64_t c) const {
    double total = 0.0;
    for (std::int64_t j = c; j < width; j += channels) total += static_cast<double>(sums[j]);
    return total;
  }
};

/// Rows cut into blocks by shape alone: about 64 KiB, and rows enough to pay for what is done once per block.
struct RowBlocks {
  static constexpr std::int64_t kElements = 16 * 1024, kLeastRows = 128;
  std::int64_t rows, height, count;

  RowBlocks(std::int64_t rows_, const Fold& fold) : rows(rows_) {
    const std::int64_t wide = larger(kElements / larger(fold.width, 1), 1) * fold.times;
    height = larger(wide, ceil_div(kLeastRows, fold.times) * fold.times);
    count = ceil_div(rows, height);
  }
  std::int64_t first(std::int64_t block) const { return block * height; }
  std::int64_t size(std::int64_t block) const { return smaller(height, rows - block * height); }
};

template <int kCount>
struct RowCount {};

/// Ask for what a sweep will read 2 KiB further on. It jumps between rows, which the hardware's own
/// prefetching follows at half the speed (sums over an array from memory: 13 GB/s without, 21 with).
NV_INLINE void ask_ahead(const float* p) { __builtin_prefetch(p + 512); }

/// body(RowCount<k>{}, at, j, count): k rows `width` apart at element `at`, columns j .. j + count - 1, over n elements
/// that start at a row; the last row may be short. The body must be always_inline.
template <int kRows, class Body>
NV_INLINE void sweep(std::int64_t n, std::int64_t width, const Body& body) {
  std::int64_t at = 0;
  for (; at + kRows * width <= n; at += kRows * width)
    for_vectors(0, width, [&](std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
      body(RowCount<kRows>{}, at + j, j, count);
    });
  for (; at < n; at += width)
    for_vectors(0, smaller(width, n - at),
                [&](std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA { body(RowCount<1>{}, at + j, j, count); });
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
