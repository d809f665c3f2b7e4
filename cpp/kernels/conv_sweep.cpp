// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_sweep.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kUnitPixels = 512;
constexpr std::int64_t kFewestPixels = 48;
constexpr std::int64_t kUnitFloats = 64 * 1024;  // of the copy
constexpr std::int64_t kUnits = 8;

void clear(float* to, std::int64_t n) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA { store_some(to + i, vf{}, count); });
}

void copy(const float* from, float* to, std::int64_t n) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(to + i, load_some(from + i, count), count);
  });
}

NV_INLINE std::int64_t within(std::int64_t value, std::int64_t low, std::int64_t high) {
  return larger(low, smaller(value, high));
}

Taps even_taps(std::int64_t count, std::int64_t dilation, std::int64_t* memory) {
  const Taps taps{count, memory, memory + count};
  for (std::int64_t i = 0; i < count; ++i) {
    taps.offset[i] = i * dilation;
    taps.number[i] = i;
  }
  return taps;
}

/// x mod n, never negative.
NV_INLINE std::int64_t residue(std::int64_t x, std::int64_t n) { return (x % n + n) % n; }

/// Taps along one direction of data_sweep(), and the first source pixel.
Taps phase_taps(std::int64_t phase, std::int64_t count, std::int64_t stride, std::int64_t pad, std::int64_t dilation,
                std::int64_t* memory, std::int64_t& first) {
  Taps taps{0, memory, memory + count};
  first = 0;
  for (std::int64_t tap = count - 1; tap >= 0; --tap) {
    const std::int64_t distance = phase + pad - tap * dilation;
    if (residue(distance, stride) != 0) continue;
    if (taps.count == 0) first = distance / stride;
    taps.offset[taps.count] = distance / stride - first;
    taps.number[taps.count++] = tap;
  }
  return taps;
}

}  // namespace

Sweep data_sweep(const Conv& v, std::int64_t i, std::int64_t j, std::int64_t* memory) {
  Sweep s{};
  s.height = v.P;
  s.width = v.Q;
  s.channels = v.K;
  s.rows = ceil_div(v.H - i, v.stride_h);
  s.columns = ceil_div(v.W - j, v.stride_w);
  s.row_step = s.column_step = 1;
  s.down = phase_taps(i, v.R, v.stride_h, v.pad_top, v.dilation_h, memory, s.first_row);
  s.across = phase_taps(j, v.S, v.stride_w, v.pad_left, v.dilation_w, memory + 2 * v.R, s.first_column);
  return s;
}

Sweep forward_sweep(const Conv& v, std::int64_t* memory) {
  return {v.H,
          v.W,
          v.C,
          v.P,
          v.Q,
          -v.pad_top,
          -v.pad_left,
          v.stride_h,
          v.stride_w,
          even_taps(v.R, v.dilation_h, memory),
          even_taps(v.S, v.dilation_w, memory + 2 * v.R)};
}

const float* source_rows(const Sweep& s, const float* image, std::int64_t begin, std::int64_t end, float* padded) {
  const std::int64_t pitch = s.pitch(), top = s.first_row + begin * s.row_step;
  if (s.inside()) return image + top * pitch + s.first_column * s.channels;
  const std::int64_t rows = s.seen_rows(end - begin), columns = s.seen_columns();
  const std::int64_t left = within(-s.first_column, 0, columns);  // columns of zeros before the image
  const std::int64_t right = within(s.width - s.first_column, left, columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    float* const to = padded + i * pitch;
    const std::int64_t row = top + i;
    if (row < 0 || row >= s.height) {
      clear(to, columns * s.channels);
      continue;
    }
    const float* const from = image + (row * s.width + s.first_column) * s.channels;
    clear(to, left * s.channels);
    copy(from + left * s.channels, to + left * s.channels, (right - left) * s.channels);
    clear(to + right * s.channels, (columns - right) * s.channels);
  }
  return padded;
}

RunPlan plan_runs(const Sweep& s, std::int64_t group_channels) {
  const bool neighbours = s.across.reach() == s.across.count - 1 && group_channels == s.channels;
  if (neighbours) return {s.down.count, s.across.count * group_channels};
  return {s.down.count * s.across.count, group_channels};
}

void fill_runs(const Sweep& s, const RunPlan& plan, std::int64_t* offset) {
  const std::int64_t columns = plan.count == s.down.count ? 1 : s.across.count;
  for (std::int64_t i = 0; i < s.down.count; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      *offset++ = s.down.offset[i] * s.pitch() + s.across.offset[j] * s.channels;
}

std::int64_t rows_of_unit(const Sweep& s, std::int64_t images) {
  const std::int64_t fitting = larger(kUnitFloats / (s.row_step * s.pitch()), 1);
  std::int64_t rows = within(smaller(kUnitPixels / s.columns, fitting), 1, s.rows);
  const std::int64_t wanted = ceil_div(kUnits, larger(images, 1));  // units per image
  if (ceil_div(s.rows, rows) < wanted)
    rows = within(ceil_div(s.rows, wanted), smaller(ceil_div(kFewestPixels, s.columns), s.rows), rows);
  return ceil_div(s.rows, ceil_div(s.rows, larger(rows, 1)));  // all alike
}

}  // namespace nervure::kernels::NV_ISA
