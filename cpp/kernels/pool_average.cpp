// SPDX-License-Identifier: BSD-3-Clause
#include "core/scratch.h"
#include "kernels/pool_window.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// The factor of window (row, column) is one over the product of these, unless the divisor is fixed.
NV_INLINE std::int64_t divisor_along(const PoolAxis& axis, const Taps& taps, bool count_padding) {
  if (axis.adaptive || !count_padding) return taps.count();
  return smaller(taps.start + axis.kernel, axis.in + axis.padding) - taps.start;
}

struct Factor {
  bool count_padding;
  float fixed;  // 0: none
  std::int64_t rows;

  Factor(const PoolDivisor& divisor, const PoolAxis& height, const Taps& h)
      : count_padding(divisor.count_padding),
        fixed(divisor.fixed ? 1.0f / static_cast<float>(divisor.fixed) : 0.0f),
        rows(divisor_along(height, h, divisor.count_padding)) {}
  float at(const PoolAxis& width, const Taps& w) const {
    if (fixed != 0.0f) return fixed;
    return 1.0f / static_cast<float>(rows * divisor_along(width, w, count_padding));
  }
};

/// The sum over the taps of kVectors vectors of channels, the last of `last` channels. Rows of the window are summed
/// each by itself: a window may be a whole image.
template <int kVectors>
NV_INLINE void average_of_window(const float* x, std::int64_t row_step, std::int64_t column_step, std::int64_t rows,
                                 std::int64_t columns, float factor, std::int64_t last, float* y) {
  vf total[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) total[v] = vf{};
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* p = x + i * row_step;
    vf sum[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[v] = load_some(p + v * kLanes, v == kVectors - 1 ? last : kLanes);
    for (std::int64_t j = 1; j < columns; ++j) {
      p += column_step;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[v] += load_some(p + v * kLanes, v == kVectors - 1 ? last : kLanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) total[v] += sum[v];
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) store_some(y + v * kLanes, total[v] * factor, v == kVectors - 1 ? last : kLanes);
}

/// The same for all channels of a pixel; with constant rows and columns the loops over taps unroll.
NV_INLINE void average_of_pixel(const float* x, std::int64_t row_step, std::int64_t channels, std::int64_t rows,
                                std::int64_t columns, float factor, float* y) {
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes)
    average_of_window<4>(x + c, row_step, channels, rows, columns, factor, kLanes, y + c);
  for (; c + kLanes <= channels; c += kLanes)
    average_of_window<1>(x + c, row_step, channels, rows, columns, factor, kLanes, y + c);
  if (c < channels) average_of_window<1>(x + c, row_step, channels, rows, columns, factor, channels - c, y + c);
}

void average_row(const Pool& pool, const PoolDivisor& divisor, const float* image, std::int64_t row, float* y) {
  const std::int64_t channels = pool.channels, row_size = pool.width.in * channels;
  const Taps h = taps_of(pool.height, row);
  const Factor factor(divisor, pool.height, h);
  for (std::int64_t o = 0; o < pool.width.out; ++o, y += channels) {
    const Taps w = taps_of(pool.width, o);
    const float* const x = image + (h.start + h.first) * row_size + (w.start + w.first) * channels;
    const float scale = factor.at(pool.width, w);
    if (h.count() == 2 && w.count() == 2)
      average_of_pixel(x, row_size, channels, 2, 2, scale, y);
    else
      average_of_pixel(x, row_size, channels, h.count(), w.count(), scale, y);
  }
}

// ---- backward ------------------------------------------------------------------------------------------------------

/// One window: `dx` is the place of tap (0, 0). With constant taps the loops unroll.
NV_INLINE void spread_window(const float* dy, vf scale, std::int64_t channels, const Taps& h, const Taps& w,
                             std::int64_t row_size, float* dx) {
  for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    const vf d = load_some(dy + c, count) * scale;
    for (std::int64_t i = h.first; i < h.last; ++i)
      for (std::int64_t j = w.first; j < w.last; ++j) store_some(dx + i * row_size + j * channels + c, d, count);
  });
}

/// Windows that lie side by side.
void spread_row(const Pool& pool, const PoolDivisor& divisor, const float* dy, std::int64_t row, float* image) {
  const std::int64_t channels = pool.channels, row_size = pool.width.in * channels;
  const Taps h = taps_of(pool.height, row);
  const Factor factor(divisor, pool.height, h);
  for (std::int64_t o = 0; o < pool.width.out; ++o) {
    const Taps w = taps_of(pool.width, o);
    const vf scale = broadcast(factor.at(pool.width, w));
    float* const dx = image + h.start * row_size + w.start * channels;
    if (h.count() == 2 && w.count() == 2 && h.first == 0 && w.first == 0)
      spread_window(dy + o * channels, scale, channels, kPair, kPair, row_size, dx);
    else
      spread_window(dy + o * channels, scale, channels, h, w, row_size, dx);
  }
  const std::int64_t covered = tiled_end(pool.width), last = row + 1 == pool.height.out ? pool.height.in : 0;
  for (std::int64_t i = h.start + h.first; i < h.start + h.last; ++i)
    zero_fill(image + i * row_size + covered * channels, (pool.width.in - covered) * channels);
  zero_fill(image + (h.start + h.last) * row_size, (last - h.start - h.last) * row_size);
}

/// The factors of rows first .. last - 1 of windows.
void factors_of(const Pool& pool, const PoolDivisor& divisor, const Holders& rows, float* factors) {
  for (std::int64_t i = rows.first; i < rows.last; ++i) {
    const Factor factor(divisor, pool.height, taps_of(pool.height, i));
    for (std::int64_t j = 0; j < pool.width.out; ++j) *factors++ = factor.at(pool.width, taps_of(pool.width, j));
  }
}

/// Any windows: each element of dx asks all that hold it.
void collect_row(const Pool& pool, const PoolDivisor& divisor, const float* dy, std::int64_t row, float* dx) {
  const std::int64_t channels = pool.channels, out = pool.width.out;
  const Holders rows = holders_of(pool.height, row);
  const std::int64_t held = larger(rows.last - rows.first, 0);
  const core::Scratch<float> scratch(static_cast<std::size_t>(held * out + 1));
  float* const factors = scratch.get();
  factors_of(pool, divisor, rows, factors);
  for (std::int64_t column = 0; column < pool.width.in; ++column) {
    const Holders columns = holders_of(pool.width, column);
    for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
      vf sum{};
      for (std::int64_t i = 0; i < held; ++i)
        for (std::int64_t j = columns.first; j < columns.last; ++j) {
          const float* const d = dy + ((rows.first + i) * out + j) * channels + c;
          sum = fma(load_some(d, count), broadcast(factors[i * out + j]), sum);
        }
      store_some(dx + column * channels + c, sum, count);
    });
  }
}

}  // namespace

void average_pool_forward(Pool pool, PoolDivisor divisor, const float* x, float* y) {
  const std::int64_t in_size = pool.height.in * pool.width.in * pool.channels,
                     row_size = pool.width.out * pool.channels;
  const std::int64_t read = pool.height.out > 0 ? in_size / pool.height.out : 0;
  for_image_rows(pool.images, pool.height.out, larger(read, row_size), [&](std::int64_t image, std::int64_t row) {
    average_row(pool, divisor, x + image * in_size, row, y + (image * pool.height.out + row) * row_size);
  });
}

void average_pool_backward(Pool pool, PoolDivisor divisor, const float* dy, float* dx) {
  const std::int64_t row_in = pool.width.in * pool.channels, row_out = pool.width.out * pool.channels;
  const std::int64_t size_in = pool.height.in * row_in, size_out = pool.height.out * row_out;
  if (tiles(pool.height) && tiles(pool.width)) {
    const std::int64_t band = row_in * pool.height.kernel;
    for_image_rows(pool.images, pool.height.out, band, [&](std::int64_t image, std::int64_t row) {
      spread_row(pool, divisor, dy + image * size_out + row * row_out, row, dx + image * size_in);
    });
    return;
  }
  for_image_rows(pool.images, pool.height.in, row_in, [&](std::int64_t image, std::int64_t row) {
    collect_row(pool, divisor, dy + image * size_out, row, dx + image * size_in + row * row_in);
  });
}

}  // namespace nervure::kernels::NV_ISA
