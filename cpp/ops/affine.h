// SPDX-License-Identifier: BSD-3-Clause
// A weight and its bias as products of few rows read them, whole or in part. Not part of the catalogue.
#pragma once

#include "core/check.h"
#include "kernels/gemm.h"

namespace nervure::ops {

/// The map x W^T + b; W (out, in) lies as [in, out] or as [out, in]. The tensors are the caller's to keep alive.
struct Affine {
  std::int64_t in, out, stride;
  bool lies_out_in;
  const float *weight, *bias;  // bias: or null

  Affine inputs(std::int64_t begin, std::int64_t end) const {
    return {end - begin, out, stride, lies_out_in, weight + begin * (lies_out_in ? 1 : stride), bias};
  }
  Affine outputs(std::int64_t begin, std::int64_t end) const {
    return {in,
            end - begin,
            stride,
            lies_out_in,
            weight + begin * (lies_out_in ? stride : 1),
            bias ? bias + begin : nullptr};
  }
  Affine without_bias() const { return {in, out, stride, lies_out_in, weight, nullptr}; }
  std::int64_t work(std::int64_t rows) const { return rows * in * out; }

  struct Rows {
    float* data;
    std::int64_t stride;
  };
  /// y = activation(x W^T + b), with `add` of what y holds too; x and y have `count` rows.
  void apply(std::int64_t count, const float* x, std::int64_t x_stride, const Rows& y, bool add = false,
             kernels::Activation activation = kernels::Activation::none) const {
    kernels::Gemm product{count, out, in, x, x_stride, false, weight, stride, lies_out_in, y.data, y.stride};
    product.column_bias = bias;
    product.accumulate = add;
    product.activation = activation;
    kernels::gemm(product);
  }
};

/// Checks weight (out, in) and bias (out) or undefined; -1 leaves a size open.
inline Affine affine(const char* op, const char* name, const core::Tensor& weight, const core::Tensor& bias,
                     std::int64_t out, std::int64_t in) {
  NV_CHECK(weight.defined(), op, name, " must be given");
  core::check_dtype(op, name, weight, core::DType::float32);
  NV_CHECK(weight.rank() == 2 && (in < 0 || weight.size(1) == in) && (out < 0 || weight.size(0) == out), op, name,
           " must be (", out, ", ", in, ") where these are not -1, got ", weight.shape());
  if (bias) {
    core::check_dtype(op, name, bias, core::DType::float32);
    NV_CHECK(bias.rank() == 1 && bias.size(0) == weight.size(0), op, "the bias of ", name, " must be (", weight.size(0),
             "), got ", bias.shape());
  }
  const bool lies_out_in = weight.order()[0] == 0;
  return {weight.size(1), weight.size(0), weight.size(lies_out_in ? 1 : 0),
          lies_out_in,    weight.f32(),   bias ? bias.f32() : nullptr};
}

}  // namespace nervure::ops
