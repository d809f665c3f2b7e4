// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_im2col.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv_parts.h"
#include "kernels/gemm.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kBlock = 128 * 1024;  // floats of columns at a time: they stay in the second-level cache

/// Channels [first, first + count) of the input.
struct Channels {
  std::int64_t first, count;
};

void copy_floats(const float* from, float* to, std::int64_t n) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(to + i, load_some(from + i, count), count);
  });
}

void clear_floats(float* to, std::int64_t n) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA { store_some(to + i, vf{}, count); });
}

void add_floats(const float* from, float* to, std::int64_t n) {
  for_vectors(0, n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(to + i, load_some(to + i, count) + load_some(from + i, count), count);
  });
}

/// body(place in the image, place in the columns, floats) for the runs of floats that lie inside the image under
/// output row p, and with place -1 for those outside. Taps of a row are one run where they are neighbours.
template <class Body>
NV_INLINE void over_patches(const Conv& v, std::int64_t p, std::int64_t channels, const Body& body) {
  const bool neighbours = v.dilation_w == 1 && channels == v.C;
  const std::int64_t row = v.S * channels;
  std::int64_t at = 0;
  for (std::int64_t q = 0; q < v.Q; ++q)
    for (std::int64_t r = 0; r < v.R; ++r, at += row) {
      const std::int64_t h = p * v.stride_h - v.pad_top + r * v.dilation_h, left = q * v.stride_w - v.pad_left;
      if (h < 0 || h >= v.H) {
        body(-1, at, row);
      } else if (neighbours) {
        const std::int64_t begin = smaller(larger(-left, 0), v.S), end = larger(smaller(v.W - left, v.S), begin);
        if (begin > 0) body(-1, at, begin * channels);
        if (end > begin) body((h * v.W + left + begin) * v.C, at + begin * channels, (end - begin) * channels);
        if (end < v.S) body(-1, at + end * channels, (v.S - end) * channels);
      } else {
        for (std::int64_t s = 0; s < v.S; ++s) {
          const std::int64_t i = left + s * v.dilation_w;
          body(i >= 0 && i < v.W ? (h * v.W + i) * v.C : -1, at + s * channels, channels);
        }
      }
    }
}

void copy_patches(const Conv& v, const float* image, std::int64_t p, Channels c, float* columns) {
  over_patches(v, p, c.count, [&](std::int64_t from, std::int64_t at, std::int64_t n) NV_INLINE_LAMBDA {
    if (from >= 0)
      copy_floats(image + from + c.first, columns + at, n);
    else
      clear_floats(columns + at, n);
  });
}

void add_patches(const Conv& v, const float* columns, std::int64_t p, Channels c, float* image) {
  over_patches(v, p, c.count, [&](std::int64_t to, std::int64_t at, std::int64_t n) NV_INLINE_LAMBDA {
    if (to >= 0) add_floats(columns + at, image + to + c.first, n);
  });
}

/// Rows [begin, end) of the N P rows of output pixels.
void copy_rows(const Conv& v, const float* x, std::int64_t begin, std::int64_t end, Channels c, float* columns) {
  const std::int64_t step = v.Q * v.R * v.S * c.count;
  for (std::int64_t row = begin; row < end; ++row)
    copy_patches(v, x + row / v.P * v.H * v.W * v.C, row % v.P, c, columns + (row - begin) * step);
}

/// Output rows whose columns, of one group, fill a block.
std::int64_t block_rows(const Conv& v) {
  const std::int64_t floats = larger(v.Q * v.depth(), 1);
  return larger(smaller(kBlock / floats, v.N * v.P), 1);
}

std::size_t block_size(const Conv& v) { return static_cast<std::size_t>(block_rows(v) * v.Q * v.depth()); }

/// Image `n` of dx, from columns that come a block of rows at a time.
void scatter_image(const Conv& v, const float* dy, const float* w, std::int64_t n, float* columns, float* image) {
  const std::int64_t inputs = v.group_inputs(), outputs = v.group_outputs(), rows = block_rows(v);
  const std::int64_t step = v.Q * v.depth();
  for (std::int64_t p = 0; p < v.P; p += rows)
    for (std::int64_t g = 0; g < v.groups; ++g) {
      const std::int64_t count = smaller(rows, v.P - p);
      gemm(Gemm{count * v.Q, v.depth(), outputs, dy + (n * v.P + p) * v.Q * v.K + g * outputs, v.K, false,
                w + g * outputs, v.K, true, columns, v.depth()});
      for (std::int64_t i = 0; i < count; ++i) add_patches(v, columns + i * step, p + i, {g * inputs, inputs}, image);
    }
}

void start_image(const Conv& v, const float* bias, float* image) {
  if (!bias) return clear_floats(image, v.H * v.W * v.C);
  for (std::int64_t i = 0; i < v.H * v.W; ++i) copy_floats(bias, image + i * v.C, v.C);
}

}  // namespace

void im2col_forward(const Conv& v, const float* x, const float* w, const float* bias, Activation activation, float* y) {
  const std::int64_t inputs = v.group_inputs(), outputs = v.group_outputs();
  core::parallel_for(v.N * v.P, block_rows(v), [&](std::int64_t begin, std::int64_t end) {
    const core::Scratch<float> columns(block_size(v));
    for (std::int64_t g = 0; g < v.groups; ++g) {
      copy_rows(v, x, begin, end, {g * inputs, inputs}, columns.get());
      Gemm product{(end - begin) * v.Q,
                   outputs,
                   v.depth(),
                   columns.get(),
                   v.depth(),
                   false,
                   w + g * outputs,
                   v.K,
                   false,
                   y + begin * v.Q * v.K + g * outputs,
                   v.K};
      product.column_bias = bias ? bias + g * outputs : nullptr;
      product.activation = activation;
      gemm(product);
    }
  });
}

void im2col_backward_data(const Conv& v, const float* dy, const float* w, const float* bias, Activation activation,
                          float* dx) {
  core::parallel_chunks(v.N, [&](std::int64_t n) {
    const core::Scratch<float> columns(block_size(v));
    float* const image = dx + n * v.H * v.W * v.C;
    start_image(v, bias, image);
    scatter_image(v, dy, w, n, columns.get(), image);
    activate_rows(activation, v.H * v.W, v.C, image, v.C);
  });
}

void im2col_backward_weight(const Conv& v, const float* x, const float* dy, float* dw) {
  const std::int64_t inputs = v.group_inputs(), outputs = v.group_outputs(), rows = block_rows(v);
  const std::int64_t blocks = ceil_div(v.N * v.P, rows);
  sum_parts(blocks, v.depth() * v.K, 1, dw, [&](const Part& part) {
    const core::Scratch<float> columns(block_size(v));
    for (std::int64_t block = part.begin; block < part.end; ++block) {
      const std::int64_t first = block * rows, last = smaller(first + rows, v.N * v.P);
      for (std::int64_t g = 0; g < v.groups; ++g) {
        copy_rows(v, x, first, last, {g * inputs, inputs}, columns.get());
        Gemm product{v.depth(),
                     outputs,
                     (last - first) * v.Q,
                     columns.get(),
                     v.depth(),
                     true,
                     dy + first * v.Q * v.K + g * outputs,
                     v.K,
                     false,
                     part.sum + g * outputs,
                     v.K};
        product.accumulate = block > part.begin;
        gemm(product);
      }
    }
  });
}

void im2col(const Conv& v, const float* x, float* columns) {
  const std::int64_t step = v.Q * v.R * v.S * v.C;
  core::parallel_for(v.N * v.P, larger(kBlock / larger(step, 1), 1), [&](std::int64_t begin, std::int64_t end) {
    copy_rows(v, x, begin, end, {0, v.C}, columns + begin * step);
  });
}

void col2im(const Conv& v, const float* columns, float* x) {
  const std::int64_t step = v.Q * v.R * v.S * v.C;
  core::parallel_chunks(v.N, [&](std::int64_t n) {
    float* const image = x + n * v.H * v.W * v.C;
    clear_floats(image, v.H * v.W * v.C);
    for (std::int64_t p = 0; p < v.P; ++p) add_patches(v, columns + (n * v.P + p) * step, p, {0, v.C}, image);
  });
}

}  // namespace nervure::kernels::NV_ISA
