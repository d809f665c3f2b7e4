// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/winograd_filter.h"

#include "core/parallel.h"
#include "kernels/transpose.h"
#include "kernels/winograd_tiles.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kGrain = 4096;  // weights per task, of each tap

/// body(vector of columns, where its first row of the first point goes, row stride, point stride).
template <class Body>
NV_INLINE void for_columns(const Panels& panels, std::int64_t depth, int points, float* u, const Body& body) {
  std::int64_t column = 0;
  for (int s = 0; s < 2; ++s) {
    const std::int64_t width = static_cast<std::int64_t>(panels.vectors[s]) * kLanes;
    const std::int64_t stride = winograd_point_stride(depth, width);
    for (std::int64_t panel = 0; panel < panels.count[s]; ++panel) {
      for (std::int64_t j = 0; j < width; j += kLanes) body(column + j, u + j, width, stride);
      column += width;
      u += points * stride;
    }
  }
}

/// Rows [begin, end) of the depth, straight from memory.
template <class P>
void rows_in_order(const WinogradFilter& f, const Panels& panels, const float* w, Range rows, float* u) {
  const std::int64_t K = f.out_channels, plane = f.channels * K;
  for_columns(panels, f.channels, P::kSide * P::kSide, u,
              [&](std::int64_t k, float* to, std::int64_t row_stride, std::int64_t point_stride) {
                const std::int64_t count = smaller(K - k, kLanes);
                for (std::int64_t c = rows.begin; c < rows.end; ++c)
                  transform_square<typename P::Filter>(
                      [&](int r, int s)
                          NV_INLINE_LAMBDA { return load_partial(w + (r * P::kTaps + s) * plane + c * K + k, count); },
                      [&](int i, int j, vf v)
                          NV_INLINE_LAMBDA { store(to + (i * P::kSide + j) * point_stride + c * row_stride, v); });
              });
}

/// block[p][k][c] = w[p, c0 + c, k0 + k] of all taps p, for one vector of each, zero past the ends.
void transpose_weights(const WinogradFilter& f, const float* w, std::int64_t c0, std::int64_t k0, float* block) {
  alignas(64) float rows[kLanes * kLanes];
  const std::int64_t c_count = smaller(f.channels - c0, kLanes), k_count = smaller(f.out_channels - k0, kLanes);
  for (int p = 0; p < f.taps * f.taps; ++p) {
    const float* from = w + (p * f.channels + c0) * f.out_channels + k0;
    for (int c = 0; c < kLanes; ++c)
      store(rows + c * kLanes, c < c_count ? load_partial(from + c * f.out_channels, k_count) : vf{});
    transpose_block(rows, kLanes, block + p * kLanes * kLanes, kLanes);
  }
}

template <class P>
void rows_transposed(const WinogradFilter& f, const Panels& panels, const float* w, Range rows, float* u) {
  constexpr int kTaps = P::kTaps * P::kTaps;
  alignas(64) float block[kTaps * kLanes * kLanes];
  for_columns(
      panels, f.out_channels, P::kSide * P::kSide, u,
      [&](std::int64_t c, float* to, std::int64_t row_stride, std::int64_t point_stride) {
        for (std::int64_t k0 = rows.begin; k0 < rows.end; k0 += kLanes) {
          transpose_weights(f, w, c, k0, block);
          const std::int64_t count = smaller(rows.end - k0, kLanes);
          for (std::int64_t k = 0; k < count; ++k)
            transform_square<typename P::Filter>(
                [&](int r, int s)
                    NV_INLINE_LAMBDA { return load(block + ((kTaps - 1 - r * P::kTaps - s) * kLanes + k) * kLanes); },
                [&](int i, int j, vf v)
                    NV_INLINE_LAMBDA { store(to + (i * P::kSide + j) * point_stride + (k0 + k) * row_stride, v); });
        }
      });
}

template <class P>
void filter_rows(const WinogradFilter& f, const Panels& panels, const float* w, Range rows, float* u) {
  if (f.transposed)
    rows_transposed<P>(f, panels, w, rows, u);
  else
    rows_in_order<P>(f, panels, w, rows, u);
}

}  // namespace

std::int64_t winograd_point_stride(std::int64_t depth, std::int64_t width) {
  constexpr std::int64_t kLine = 16, kPage = 1024;  // in floats
  const std::int64_t size = depth * width;
  if (size < kPage) return round_up(size, kLine);
  return (size / kPage | 1) * kPage + round_up(size % kPage, kLine) + (size % kPage ? 0 : kLine);
}

std::int64_t winograd_filter_size(const WinogradFilter& f, const Panels& panels) {
  std::int64_t size = 0;
  for (int s = 0; s < 2; ++s)
    size += panels.count[s] * winograd_point_stride(f.depth(), static_cast<std::int64_t>(panels.vectors[s]) * kLanes);
  return f.points() * size;
}

void winograd_filter(const WinogradFilter& f, const Panels& panels, const float* w, float* u) {
  const std::int64_t grain = round_up(ceil_div(kGrain, f.columns()), kLanes);
  core::parallel_for(f.depth(), grain, [&](std::int64_t begin, std::int64_t end) {
    with_points(f.tile, f.taps, [&]<class P>(P) { filter_rows<P>(f, panels, w, {begin, end}, u); });
  });
}

}  // namespace nervure::kernels::NV_ISA
