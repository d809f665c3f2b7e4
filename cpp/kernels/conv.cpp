// SPDX-License-Identifier: BSD-3-Clause
// Which algorithm computes a convolution. All choices are made here, by shape.
#include "kernels/conv.h"

#include "kernels/conv_direct.h"
#include "kernels/conv_im2col.h"
#include "kernels/gemm.h"

namespace nervure::kernels::NV_ISA {
namespace {

enum class Path {
  product,  // a 1x1 convolution is a product of matrices
  im2col,   // patches copied into a matrix
  direct,   // pixels read in place
};

/// Every pixel of y is a product of one pixel of x.
bool is_product(const Conv& v) {
  return v.R == 1 && v.S == 1 && v.stride_h == 1 && v.stride_w == 1 && v.pad_top == 0 && v.pad_left == 0 &&
         v.P == v.H && v.Q == v.W;
}

Path choose(const Conv& v, ConvOptions options) {
  if (is_product(v) && (options.algorithm == ConvAlgorithm::automatic || options.algorithm == ConvAlgorithm::winograd))
    return Path::product;
  return options.algorithm == ConvAlgorithm::im2col ? Path::im2col : Path::direct;
}

// ---- 1x1: x is (pixels, C), w is (C / groups, K), y is (pixels, K) ------------------------------------------------

void product_forward(const Conv& v, const float* x, const float* w, const float* bias, Activation activation,
                     float* y) {
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

}  // namespace

void conv_forward(const Conv& conv, ConvOptions options, const float* x, const float* w, const float* bias,
                  Activation activation, float* y) {
  switch (choose(conv, options)) {
    case Path::product:
      return product_forward(conv, x, w, bias, activation, y);
    case Path::im2col:
      return im2col_forward(conv, x, w, bias, activation, y);
    case Path::direct:
      return direct_forward(conv, x, w, bias, activation, y);
  }
}

void conv_backward_data(const Conv& conv, ConvOptions options, const float* dy, const float* w, const float* bias,
                        Activation activation, float* dx) {
  switch (choose(conv, options)) {
    case Path::product:
      return product_backward_data(conv, dy, w, bias, activation, dx);
    case Path::im2col:
      return im2col_backward_data(conv, dy, w, bias, activation, dx);
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
    case Path::direct:
      return direct_backward_weight(conv, x, dy, dw);
  }
}

}  // namespace nervure::kernels::NV_ISA
