// SPDX-License-Identifier: BSD-3-Clause
// Which algorithm computes a convolution. All choices are made here, by shape.
#include "kernels/conv.h"

#include "core/parallel.h"
#include "kernels/conv_depthwise.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_im2col.h"
#include "kernels/conv_taps.h"
#include "kernels/gemm.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/lanes.h"
#include "kernels/linear.h"
#include "kernels/winograd.h"

namespace nervure::kernels::NV_ISA {
namespace {

enum class Path {
  product,    // a 1x1 convolution is a product of matrices
  depthwise,  // every channel by itself
  winograd,   // fewer multiplications, 3x3 only
  taps,       // a product of matrices for each tap: few pixels, many weights
  direct,     // pixels read in place
  im2col,     // patches copied into a matrix
};

/// Every pixel of y is a product of one pixel of x.
bool is_product(const Conv& v) {
  return v.R == 1 && v.S == 1 && v.stride_h == 1 && v.stride_w == 1 && v.pad_top == 0 && v.pad_left == 0 &&
         v.P == v.H && v.Q == v.W;
}

bool is_depthwise(const Conv& v) { return v.groups > 1 && v.groups == v.C && v.groups == v.K; }

bool is_winograd(const Conv& v) {
  return v.R == 3 && v.S == 3 && v.stride_h == 1 && v.stride_w == 1 && v.dilation_h == 1 && v.dilation_w == 1 &&
         v.groups == 1 && v.pad_top >= 0 && v.pad_top <= 2 && v.pad_left >= 0 && v.pad_left <= 2;
}

/// Cycles of a convolution per input and output channel, measured with 16 lanes: products of each point, transforms of
/// x and y in memory, and the weights, whose transform does not pay for few tiles.
double winograd_cycles(const Conv& v, int tile) {
  const double tiles = static_cast<double>(v.N * ceil_div(v.P, tile) * ceil_div(v.Q, tile));
  const double C = static_cast<double>(v.C), K = static_cast<double>(v.K);
  return tile == 4 ? tiles * (1.5 + 19 / C + 16 / K) + 40 : tiles * (0.67 + 6 / C + 4.5 / K) + 20;
}
double direct_cycles(const Conv& v) { return 0.31 * static_cast<double>(v.N * v.P * v.Q); }

int winograd_tile(const Conv& v, ConvOptions options) {
  if (options.algorithm == ConvAlgorithm::winograd) return options.fast ? 4 : 2;
  return options.fast && winograd_cycles(v, 4) < winograd_cycles(v, 2) ? 4 : 2;
}

/// Fewer channels leave lanes of the transforms empty.
constexpr std::int64_t kWinogradChannels = 16;

bool winograd_pays(const Conv& v, ConvOptions options) {
  return v.C >= kWinogradChannels && v.K >= kWinogradChannels &&
         winograd_cycles(v, winograd_tile(v, options)) < direct_cycles(v);
}

/// Whether rows x columns pixels, those that some rows of outputs see, are so many more than the image has that a copy
/// of them would be mostly zeros, and large: taps or windows that lie far apart.
bool is_scattered(std::int64_t rows, std::int64_t columns, std::int64_t channels, std::int64_t height,
                  std::int64_t width) {
  constexpr double kFloats = 1024 * 1024;
  const double pixels = static_cast<double>(rows) * static_cast<double>(columns);
  return pixels * static_cast<double>(channels) > kFloats &&
         pixels > 4.0 * static_cast<double>(height) * static_cast<double>(width);
}

Path direct_or_columns(const Conv& v) {
  constexpr std::int64_t kPixels = 48;  // that are computed together at least
  const std::int64_t rows = (smaller(v.P, ceil_div(kPixels, v.Q)) - 1) * v.stride_h + (v.R - 1) * v.dilation_h + 1;
  const std::int64_t columns = (v.Q - 1) * v.stride_w + (v.S - 1) * v.dilation_w + 1;
  return is_scattered(rows, columns, v.C, v.H, v.W) ? Path::im2col : Path::direct;
}

/// Weights that do not stay in the caches while they meet all pixels, and few pixels that do.
bool is_taps(const Conv& v) {
  constexpr std::int64_t kPixels = 160, kChannels = 64, kWeights = 256 * 1024;
  return v.groups == 1 && v.N * v.P * v.Q <= kPixels && v.C >= kChannels && v.K >= kChannels &&
         v.depth() * v.K >= kWeights;
}

/// What an algorithm asked for can do; automatic where it cannot.
Path choose(const Conv& v, ConvOptions options) {
  if (options.algorithm == ConvAlgorithm::im2col) return Path::im2col;
  if (is_depthwise(v)) return Path::depthwise;
  if (options.algorithm == ConvAlgorithm::direct) return direct_or_columns(v);
  if (is_product(v)) return Path::product;
  if (options.algorithm == ConvAlgorithm::automatic && is_taps(v)) return Path::taps;
  if (is_winograd(v) && (options.algorithm == ConvAlgorithm::winograd || winograd_pays(v, options)))
    return Path::winograd;
  return direct_or_columns(v);
}

/// The gradient of few channels would leave most lanes of a direct tile empty; columns of taps and channels fill them,
/// unless those of one row of pixels are too many to keep.
Path choose_data(const Conv& v, ConvOptions options) {
  constexpr std::int64_t kColumns = 4 * 1024 * 1024;
  const Path path = choose(v, options);
  if (path != Path::direct) return path;
  const bool few = options.algorithm == ConvAlgorithm::automatic && 2 * v.group_inputs() <= kLanes;
  const std::int64_t down = (v.R - 1) * v.dilation_h / v.stride_h, across = (v.S - 1) * v.dilation_w / v.stride_w;
  const bool scattered = is_scattered(down + 1, (v.W - 1) / v.stride_w + across + 1, v.K, v.P, v.Q);
  return scattered || (few && v.Q * v.depth() <= kColumns) ? Path::im2col : path;
}

// ---- 1x1: x is (pixels, C), w is (C / groups, K), y is (pixels, K) ------------------------------------------------

/// Much memory under few weights, but more of these than stay in the first-level cache: the direct kernel fetches in
/// time what it reads and writes next. (It takes more instructions than gemm(): too many with narrow vectors.)
bool is_line_product(const Conv& v) {
  constexpr std::int64_t kFewest = 8 * 1024, kMost = 16 * 1024, kPixelFloats = 2'000'000;
  return kLanes == 16 && v.groups == 1 && v.C * v.K > kFewest && v.C * v.K <= kMost &&
         v.N * v.P * v.Q * (v.C + v.K) >= kPixelFloats;
}

/// All pixels in one line.
Conv as_line(const Conv& v) {
  const std::int64_t pixels = v.N * v.P * v.Q;
  return {1, 1, pixels, v.C, v.K, 1, 1, 1, pixels};
}

void product_forward(const Conv& v, const float* x, const float* w, const float* bias, Activation activation,
                     float* y) {
  if (is_line_product(v)) return direct_forward(as_line(v), x, w, bias, activation, y);
  const std::int64_t inputs = v.group_inputs(), outputs = v.group_outputs();
  for (std::int64_t g = 0; g < v.groups; ++g) {
    Gemm product{v.N * v.P * v.Q, outputs, inputs, x + g * inputs,  v.C, false,
                 w + g * outputs, v.K,     false,  y + g * outputs, v.K};
    product.column_bias = bias ? bias + g * outputs : nullptr;
    product.activation = activation;
    gemm(product);
  }
}

void product_backward_data(const Conv& v, const float* dy, const float* w, const float* bias, Activation activation,
                           float* dx) {
  if (is_line_product(v)) return direct_backward_data(as_line(v), dy, w, bias, activation, dx);
  const std::int64_t inputs = v.group_inputs(), outputs = v.group_outputs();
  for (std::int64_t g = 0; g < v.groups; ++g) {
    Gemm product{v.N * v.P * v.Q, inputs, outputs, dy + g * outputs, v.K, false,
                 w + g * outputs, v.K,    true,    dx + g * inputs,  v.C};
    product.column_bias = bias ? bias + g * inputs : nullptr;
    product.activation = activation;
    gemm(product);
  }
}

void product_backward_weight(const Conv& v, const float* x, const float* dy, float* dw) {
  const std::int64_t inputs = v.group_inputs(), outputs = v.group_outputs();
  for (std::int64_t g = 0; g < v.groups; ++g)
    gemm(Gemm{inputs, outputs, v.N * v.P * v.Q, x + g * inputs, v.C, true, dy + g * outputs, v.K, false,
              dw + g * outputs, v.K});
}

// ---- what has no end of its own ----------------------------------------------------------------

WinogradShape winograd_shape(const Conv& v, ConvOptions options) {
  return {v.N, v.H, v.W, v.C, v.P, v.Q, v.K, v.pad_top, v.pad_left, winograd_tile(v, options)};
}

/// out = activation(out + bias) for rows of channels.
void finish(std::int64_t rows, std::int64_t channels, const float* bias, Activation activation, float* out) {
  if (!bias && activation == Activation::none) return;
  constexpr std::int64_t kElements = 16 * 1024;
  Gemm epilogue{rows, channels, 0, nullptr, 0, false, nullptr, 0, false, out, channels};
  epilogue.column_bias = bias;
  epilogue.activation = activation;
  core::parallel_for(rows, kElements / channels + 1, [&](std::int64_t begin, std::int64_t end) {
    finish_rows(epilogue, {begin, end}, {0, channels}, out + begin * channels, channels);
  });
}

void winograd_with_activation(const Conv& v, ConvOptions options, const float* x, const float* w, const float* bias,
                              Activation activation, float* y) {
  winograd_forward(winograd_shape(v, options), x, w, bias, activation == Activation::relu, y);
  if (activation != Activation::none && activation != Activation::relu)
    linear_activation(activation, v.N * v.P * v.Q * v.K, y, y);
}

void winograd_transposed(const Conv& v, ConvOptions options, const float* dy, const float* w, const float* bias,
                         Activation activation, float* dx) {
  winograd_backward_data(winograd_shape(v, options), dy, w, dx);
  finish(v.N * v.H * v.W, v.C, bias, activation, dx);
}

void taps_with_activation(const Conv& v, const float* x, const float* w, const float* bias, Activation activation,
                          float* y) {
  taps_forward(v, x, w, y);
  finish(v.N * v.P * v.Q, v.K, bias, activation, y);
}

void taps_transposed(const Conv& v, const float* dy, const float* w, const float* bias, Activation activation,
                     float* dx) {
  taps_backward_data(v, dy, w, dx);
  finish(v.N * v.H * v.W, v.C, bias, activation, dx);
}

}  // namespace

void conv_forward(const Conv& conv, ConvOptions options, const float* x, const float* w, const float* bias,
                  Activation activation, float* y) {
  switch (choose(conv, options)) {
    case Path::product:
      return product_forward(conv, x, w, bias, activation, y);
    case Path::im2col:
      return im2col_forward(conv, x, w, bias, activation, y);
    case Path::depthwise:
      return depthwise_forward(conv, x, w, bias, activation, y);
    case Path::winograd:
      return winograd_with_activation(conv, options, x, w, bias, activation, y);
    case Path::taps:
      return taps_with_activation(conv, x, w, bias, activation, y);
    case Path::direct:
      return direct_forward(conv, x, w, bias, activation, y);
  }
}

void conv_backward_data(const Conv& conv, ConvOptions options, const float* dy, const float* w, const float* bias,
                        Activation activation, float* dx) {
  switch (choose_data(conv, options)) {
    case Path::product:
      return product_backward_data(conv, dy, w, bias, activation, dx);
    case Path::im2col:
      return im2col_backward_data(conv, dy, w, bias, activation, dx);
    case Path::depthwise:
      return depthwise_backward_data(conv, dy, w, bias, activation, dx);
    case Path::winograd:
      return winograd_transposed(conv, options, dy, w, bias, activation, dx);
    case Path::taps:
      return taps_transposed(conv, dy, w, bias, activation, dx);
    case Path::direct:
      return direct_backward_data(conv, dy, w, bias, activation, dx);
  }
}

void conv_backward_weight(const Conv& conv, ConvOptions options, const float* x, const float* dy, float* dw) {
  switch (choose(conv, options)) {
    case Path::product:
      return product_backward_weight(conv, x, dy, dw);
    case Path::im2col:
      return im2col_backward_weight(conv, x, dy, dw);
    case Path::depthwise:
      return depthwise_backward_weight(conv, x, dy, dw);
    case Path::winograd:
      return winograd_backward_weight(winograd_shape(conv, options), x, dy, dw);
    case Path::taps:
      return taps_backward_weight(conv, x, dy, dw);
    case Path::direct:
      return direct_backward_weight(conv, x, dy, dw);
  }
}

}  // namespace nervure::kernels::NV_ISA
