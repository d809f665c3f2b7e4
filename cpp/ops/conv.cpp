// SPDX-License-Identifier: BSD-3-Clause
// Convolutions. One geometry serves all: a 1-D convolution is one of height 1, and a transposed convolution is the
// backward of a convolution run forward.
#include "kernels/conv.h"

#include <algorithm>
#include <array>

#include "core/launch.h"
#include "kernels/linear.h"
#include "ops/activation.h"
#include "ops/conv_settings.h"
#include "ops/images.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

using kernels::Activation;
using kernels::Conv;

using Pair = std::array<std::int64_t, 2>;  // of height and width

constexpr std::int64_t kLargest = std::int64_t{1} << 30;

/// One number for all dimensions or one for each. `other` stands for the height of a 1-D convolution.
Pair pair_of(const char* op, const char* what, const Dims& values, int spatial, std::int64_t least,
             std::int64_t other) {
  NV_CHECK(values.size() == 1 || values.size() == static_cast<std::size_t>(spatial), op, what,
           spatial == 1 ? " must be an integer" : " must be an integer or two of them", ", got ", values.size(),
           " numbers");
  for (const std::int64_t value : values)
    NV_CHECK(value >= least && value <= kLargest, op, what, " must be from ", least, " to 2^30, got ", value);
  if (spatial == 1) return {other, values[0]};
  return {values.front(), values.back()};
}

/// Memory order of weights: [R, S, C / groups, K].
Order weight_order(int spatial) { return spatial == 2 ? Order{2, 3, 1, 0} : Order{2, 1, 0}; }

struct Sizes {
  std::int64_t batch, channels;
  Pair image;
};

const char* expected_input(int spatial) {
  return spatial == 2 ? "input must be (N, C, H, W) or (C, H, W)" : "input must be (N, C, L) or (C, L)";
}

Sizes sizes_of(const char* op, const Tensor& x, int spatial) {
  const int rank = x.rank();
  NV_CHECK(rank == spatial + 2 || rank == spatial + 1, op, expected_input(spatial), ", got ", x.shape());
  for (int i = rank - spatial - 1; i < rank; ++i)
    NV_CHECK(x.size(i) >= 1, op, expected_input(spatial), ", only N may be 0, got ", x.shape());
  return {rank == spatial + 2 ? x.size(0) : 1,
          x.size(rank - spatial - 1),
          {spatial == 2 ? x.size(rank - 2) : 1, x.size(rank - 1)}};
}

/// The shape of activations that belong to x.
Shape shape_like(const Tensor& x, int spatial, std::int64_t channels, Pair image) {
  Shape shape;
  if (x.rank() == spatial + 2) shape.append(x.size(0));
  shape.append(channels);
  if (spatial == 2) shape.append(image[0]);
  shape.append(image[1]);
  return shape;
}

void check_weight(const char* op, const Tensor& weight, int spatial, bool transposed, std::int64_t channels,
                  std::int64_t groups) {
  core::check_dtype(op, "weight", weight, DType::float32);
  const char* expected = transposed     ? "weight must be (C, K / groups, R, S)"
                         : spatial == 2 ? "weight must be (K, C / groups, R, S)"
                                        : "weight must be (K, C / groups, S)";
  NV_CHECK(weight.rank() == spatial + 2, op, expected, ", got ", weight.shape());
  for (int i = 0; i < weight.rank(); ++i)
    NV_CHECK(weight.size(i) >= 1, op, expected, ", none of them 0, got ", weight.shape());
  NV_CHECK(groups >= 1, op, "groups must be at least 1, got ", groups);
  NV_CHECK(channels % groups == 0, op, "the input's ", channels, " channels must be a multiple of groups = ", groups);
  NV_CHECK(weight.size(0) % groups == 0, op, "weight.shape[0] = ", weight.size(0),
           " must be a multiple of groups = ", groups);
  if (transposed)
    NV_CHECK(weight.size(0) == channels, op, expected, " with C = ", channels, ", got ", weight.shape());
  else
    NV_CHECK(weight.size(1) == channels / groups, op, expected, " with C / groups = ", channels / groups, ", got ",
             weight.shape());
}

void check_bias(const char* op, const Tensor& bias, std::int64_t channels) {
  if (!bias) return;
  core::check_dtype(op, "bias", bias, DType::float32);
  NV_CHECK(bias.rank() == 1 && bias.size(0) == channels, op, "bias must be (K) with K = ", channels, ", got ",
           bias.shape());
}

Pair kernel_size(const Tensor& weight, int spatial) {
  return {spatial == 2 ? weight.size(2) : 1, weight.size(spatial + 1)};
}

struct Sides {
  Pair before, after;
};

Sides sides_of(const char* op, const Padding& padding, int spatial, Pair kernel, Pair stride, Pair dilation) {
  if (const auto* numbers = std::get_if<Dims>(&padding)) {
    const Pair both = pair_of(op, "padding", *numbers, spatial, 0, 0);
    return {both, both};
  }
  const auto& name = std::get<std::string>(padding);
  NV_CHECK(name == "same" || name == "valid", op, "padding must be numbers, \"same\" or \"valid\", got \"", name, "\"");
  if (name == "valid") return {{0, 0}, {0, 0}};
  NV_CHECK(stride == (Pair{1, 1}), op, "padding = \"same\" needs stride 1");
  Sides sides{};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t all = dilation[i] * (kernel[i] - 1);
    sides.before[i] = all / 2;  // an odd pixel goes to the end (PyTorch)
    sides.after[i] = all - all / 2;
  }
  return sides;
}

std::int64_t output_size(const char* op, std::int64_t size, std::int64_t before, std::int64_t after,
                         std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
  const std::int64_t padded = size + before + after, extent = dilation * (kernel - 1) + 1;
  NV_CHECK(padded >= extent, op, "the kernel covers ", extent, " pixels, more than the ", padded,
           " of the padded input");
  return (padded - extent) / stride + 1;
}

// ---- what forward and transposed convolutions share ---------------------------------------------------------------

/// Which of the two maps is the layer: x to y, or y to x.
enum class Direction { forward, transposed };

struct Layer {
  Direction direction;
  Conv conv;
  kernels::ConvOptions options;
  Activation activation;

  void run(const Tensor& input, const Tensor& weight, const Tensor& bias, Activation fused, const Tensor& out) const {
    core::launch(conv.multiplications(), [*this, fused, in = input.f32(), w = weight.f32(),
                                          b = bias ? bias.f32() : nullptr, out = out.f32_out()] {
      if (direction == Direction::forward)
        kernels::conv_forward(conv, options, in, w, b, fused, out);
      else
        kernels::conv_backward_data(conv, options, in, w, b, fused, out);
    });
  }
  void run_back(const Tensor& dz, const Tensor& weight, const Tensor& dx) const {
    const Layer back{direction == Direction::forward ? Direction::transposed : Direction::forward, conv, options,
                     Activation::none};
    back.run(dz, weight, Tensor(), Activation::none, dx);
  }
  void weight_gradient(const Tensor& input, const Tensor& dz, const Tensor& dw) const {
    const bool forward = direction == Direction::forward;
    core::launch(conv.multiplications(),
                 [conv = conv, options = options, x = (forward ? input : dz).f32(), dy = (forward ? dz : input).f32(),
                  dw = dw.f32_out()] { kernels::conv_backward_weight(conv, options, x, dy, dw); });
  }
};

struct Saved {
  Layer layer;
  Shape x_shape, weight_shape;
  Tensor x, weight;  // each where a gradient reads it
  Tensor activated;  // what the derivative of the activation is computed from
  Order order;       // of input and output
};

/// dz = dy activation'(.) and the gradient of the bias, in one pass.
Tensor through_activation(const Saved& saved, core::Gradients& g) {
  const bool spent = core::is_sole_owner(g.dy());  // asked here: dy below may be a second handle
  const Tensor dy = to_order(g.dy(), saved.order);
  const Activation activation = saved.layer.activation;
  const bool wants_bias = g.wants(2);
  if (!wants_bias && activation == Activation::none) return dy;
  const std::int64_t channels = dy.size(saved.order[saved.order.rank() - 1]);
  const Tensor db = wants_bias ? Tensor::empty({channels}) : Tensor();
  const bool in_place = activation == Activation::none || spent;
  const Tensor dz = in_place ? dy : Tensor::empty(dy.shape(), DType::float32, saved.order);
  core::launch(dy.numel() * 4, [activation, rows = dy.numel() / channels, channels, dy = dy.f32(),
                                from = saved.activated ? saved.activated.f32() : nullptr,
                                dz = activation == Activation::none ? nullptr : dz.f32_out(),
                                db = wants_bias ? db.f32_out() : nullptr] {
    kernels::linear_epilogue_backward(activation, rows, channels, dy, from, dz, db);
  });
  if (wants_bias) g.set(2, db);
  return dz;
}

void layer_backward(const Saved& saved, core::Gradients& g) {
  const Tensor dz = through_activation(saved, g);
  if (g.wants(0)) {
    const Tensor dx = Tensor::empty(saved.x_shape, DType::float32, saved.order);
    saved.layer.run_back(dz, saved.weight, dx);
    g.set(0, dx);
  }
  if (g.wants(1)) {
    const Tensor dw = Tensor::empty(saved.weight_shape, DType::float32, weight_order(saved.weight_shape.rank() - 2));
    saved.layer.weight_gradient(saved.x, dz, dw);
    g.set(1, dw);
  }
}

/// x and weight lie as the kernels read them.
Tensor run_layer(const char* op, const Layer& layer, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 const Shape& shape) {
  const Order order = order_with_channels_last(x.rank(), weight.rank() - 2);
  const Activation activation = layer.activation;
  const Tensor y = Tensor::empty(shape, DType::float32, order);
  const bool recorded = core::needs_grad(x, weight, bias);
  const bool keeps_input = recorded && kernels::derivative_from_input(activation);
  const Tensor z = keeps_input ? Tensor::empty(shape, DType::float32, order) : y;
  layer.run(x, weight, bias, keeps_input ? Activation::none : activation, z);
  if (keeps_input)
    core::launch(y.numel() * 4, [activation, n = y.numel(), z = z.f32(), y = y.f32_out()] {
      kernels::linear_activation(activation, n, z, y);
    });
  if (recorded) {
    Saved saved{layer,
                x.shape(),
                weight.shape(),
                weight.requires_grad() ? x.detach() : Tensor(),
                x.requires_grad() ? weight.detach() : Tensor(),
                activation == Activation::none ? Tensor() : (keeps_input ? z : y.detach()),
                order};
    auto read = core::saved(saved.x, saved.weight, saved.activated);
    core::record(op, y, {x, weight, bias}, std::move(read),
                 [saved = std::move(saved)](core::Gradients& g) { layer_backward(saved, g); });
  }
  return y;
}

Tensor as_activations(const Tensor& x, int spatial) {
  return to_order(x.dtype() == DType::float32 ? x : cast(x, DType::float32),
                  order_with_channels_last(x.rank(), spatial));
}

Tensor convolve(const char* op, int spatial, const Tensor& input, const Tensor& weight, const Tensor& bias,
                const Dims& strides, const Padding& padding, const Dims& dilations, std::int64_t groups,
                const std::string& activation) {
  const Sizes in = sizes_of(op, input, spatial);
  check_weight(op, weight, spatial, false, in.channels, groups);
  const std::int64_t outputs = weight.size(0);
  check_bias(op, bias, outputs);
  const Pair kernel = kernel_size(weight, spatial);
  const Pair stride = pair_of(op, "stride", strides, spatial, 1, 1);
  const Pair dilation = pair_of(op, "dilation", dilations, spatial, 1, 1);
  const Sides sides = sides_of(op, padding, spatial, kernel, stride, dilation);
  Pair out{};
  for (std::size_t i = 0; i < 2; ++i)
    out[i] = output_size(op, in.image[i], sides.before[i], sides.after[i], kernel[i], stride[i], dilation[i]);

  const Conv conv{in.batch,        in.image[0], in.image[1], in.channels, outputs,   kernel[0],
                  kernel[1],       out[0],      out[1],      stride[0],   stride[1], sides.before[0],
                  sides.before[1], dilation[0], dilation[1], groups};
  const Layer layer{Direction::forward, conv, conv_options(), parse_activation(op, activation)};
  return run_layer(op, layer, as_activations(input, spatial), to_order(weight, weight_order(spatial)), bias,
                   shape_like(input, spatial, outputs, out));
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride, const Padding& padding,
              const Dims& dilation, std::int64_t groups, const std::string& activation) {
  return convolve("conv2d", 2, x, weight, bias, stride, padding, dilation, groups, activation);
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride, const Padding& padding,
              const Dims& dilation, std::int64_t groups, const std::string& activation) {
  return convolve("conv1d", 1, x, weight, bias, stride, padding, dilation, groups, activation);
}

Tensor conv_transpose2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Dims& strides,
                        const Dims& paddings, const Dims& output_paddings, std::int64_t groups, const Dims& dilations,
                        const std::string& activation) {
  constexpr const char* op = "conv_transpose2d";
  const Sizes in = sizes_of(op, input, 2);
  check_weight(op, weight, 2, true, in.channels, groups);
  const std::int64_t outputs = weight.size(1) * groups;
  check_bias(op, bias, outputs);
  const Pair kernel = kernel_size(weight, 2);
  const Pair stride = pair_of(op, "stride", strides, 2, 1, 1);
  const Pair dilation = pair_of(op, "dilation", dilations, 2, 1, 1);
  const Pair padding = pair_of(op, "padding", paddings, 2, 0, 0);
  const Pair added = pair_of(op, "output_padding", output_paddings, 2, 0, 0);
  Pair out{};
  for (std::size_t i = 0; i < 2; ++i) {
    NV_CHECK(added[i] < std::max(stride[i], dilation[i]), op,
             "output_padding must be smaller than stride or dilation, got ", added[i], " with stride ", stride[i],
             " and dilation ", dilation[i]);
    NV_CHECK(in.image[i] <= kLargest, op, "sides of an image may have up to 2^30 pixels, got ", in.image[i]);
    out[i] = (in.image[i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + added[i] + 1;
    NV_CHECK(out[i] >= 1, op, "the output would have ", out[i], " pixels: padding ", padding[i], " is too large");
  }

  const Conv conv{in.batch,    out[0],    out[1],    outputs,    in.channels, kernel[0],   kernel[1],   in.image[0],
                  in.image[1], stride[0], stride[1], padding[0], padding[1],  dilation[0], dilation[1], groups};
  const Layer layer{Direction::transposed, conv, conv_options(), parse_activation(op, activation)};
  return run_layer(op, layer, as_activations(input, 2), to_order(weight, weight_order(2)), bias,
                   shape_like(input, 2, outputs, out));
}

}  // namespace nervure::ops
