// SPDX-License-Identifier: BSD-3-Clause
// Maximum and average over windows of channels-last images: x (images, H, W, C), y (images, OH, OW, C). One-dimensional
// pooling is the case H = 1. Outputs never share memory with inputs.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// Windows along one axis. Window o has the taps k = 0 .. kernel - 1 at o * stride - padding + k * dilation, of which
/// those inside 0 .. in - 1 count. Adaptive: window o is floor(o in / out) .. ceil((o + 1) in / out) - 1, and `kernel`
/// is the length of the longest; stride, padding and dilation are not read.
struct PoolAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, padding = 0, dilation = 1;
  bool adaptive = false;
};

struct Pool {
  std::int64_t images, channels;
  PoolAxis height, width;

  std::int64_t input_size() const { return images * height.in * width.in * channels; }
  std::int64_t output_size() const { return images * height.out * width.out * channels; }
  std::int64_t window_size() const { return height.kernel * width.kernel; }
  /// Whether a place in the window fits into a byte.
  bool places_fit_bytes() const { return window_size() <= 256; }
};

/// Where the maxima were: for every output its place in the window, row tap * width.kernel + column tap. At most one
/// pointer is set, `bytes` where places_fit_bytes(); none: not wanted.
template <class Byte, class Word>
struct PoolPlaces {
  Byte* bytes = nullptr;
  Word* words = nullptr;
};
using PlacesOut = PoolPlaces<std::uint8_t, std::int32_t>;
using Places = PoolPlaces<const std::uint8_t, const std::int32_t>;

/// y = the largest element of the window; the first of equal ones, the last NaN if there is one. -infinity, at the
/// place of no input, for a window without taps inside.
NV_KERNEL(max_pool_forward, Pool pool, const float* x, float* y, PlacesOut places)
/// dx = Σ dy of the windows whose maximum this was; every element is written.
NV_KERNEL(max_pool_backward, Pool pool, const float* dy, Places places, float* dx)
/// indices = h * W + w of the maxima, of the input that they came from.
NV_KERNEL(max_pool_indices, Pool pool, Places places, std::int64_t* indices)

/// What a sum is divided by: `fixed` unless that is 0, else the number of taps, with or without those in the padding.
struct PoolDivisor {
  bool count_padding = true;
  std::int64_t fixed = 0;
};

/// y = sum over the window / divisor. The dilation is 1.
NV_KERNEL(average_pool_forward, Pool pool, PoolDivisor divisor, const float* x, float* y)
/// dx = Σ dy / divisor over the windows that hold this element; every element is written.
NV_KERNEL(average_pool_backward, Pool pool, PoolDivisor divisor, const float* dy, float* dx)

}  // namespace nervure::kernels
