// SPDX-License-Identifier: BSD-3-Clause
// Convolutions on tensors, their settings, and the bare kernels on NumPy arrays.
#include "kernels/conv.h"

#include "bindings/kernel_arrays.h"
#include "core/launch.h"
#include "ops/activation.h"
#include "ops/conv_settings.h"

namespace nervure::bindings {
namespace {

using kernels::Conv;
using PaddingArgument = std::variant<IntList, std::string>;

ops::Padding padding_of(const PaddingArgument& padding) {
  if (const auto* numbers = std::get_if<IntList>(&padding)) return numbers->values;
  return std::get<std::string>(padding);
}

template <class Op>
void bind_forward(py::module_& m, const char* name, const Op& op) {
  m.def(
      name,
      [op](const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const IntList& stride,
           const PaddingArgument& padding, const IntList& dilation, std::int64_t groups,
           const std::string& activation) {
        return op(x, weight, bias.value_or(Tensor()), stride.values, padding_of(padding), dilation.values, groups,
                  activation);
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = 1, py::arg("padding") = 0,
      py::arg("dilation") = 1, py::arg("groups") = 1, py::arg("activation") = "");
}

void bind_conv_tensors(py::module_& m) {
  bind_forward(m, "conv2d", &ops::conv2d);
  bind_forward(m, "conv1d", &ops::conv1d);
  m.def(
      "conv_transpose2d",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const IntList& stride,
         const IntList& padding, const IntList& output_padding, std::int64_t groups, const IntList& dilation,
         const std::string& activation) {
        return ops::conv_transpose2d(x, weight, bias.value_or(Tensor()), stride.values, padding.values,
                                     output_padding.values, groups, dilation.values, activation);
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = 1, py::arg("padding") = 0,
      py::arg("output_padding") = 0, py::arg("groups") = 1, py::arg("dilation") = 1, py::arg("activation") = "");
}

void bind_settings(py::module_& m) {
  m.def("set_conv_algorithm", &ops::set_conv_algorithm, py::arg("algorithm"));
  m.def("get_conv_algorithm", &ops::get_conv_algorithm);
  m.def("set_conv_accuracy", &ops::set_conv_accuracy, py::arg("accuracy"));
  m.def("get_conv_accuracy", &ops::get_conv_accuracy);
}

// ---- bare kernels -------------------------------------------------------------------------------------------------

/// Stride, padding, dilation, as the Python side spells them out: heights and widths.
struct Window {
  std::array<std::int64_t, 2> stride, padding, dilation;
  std::int64_t groups;
};

constexpr std::int64_t kLargest = std::int64_t{1} << 30;  // so that no product of sizes overflows

void check_window(const char* op, const Window& window) {
  for (std::size_t i = 0; i < 2; ++i) {
    NV_CHECK(window.stride[i] >= 1 && window.dilation[i] >= 1 && window.padding[i] >= 0 && window.groups >= 1, op,
             "stride, dilation and groups must be at least 1 and padding at least 0");
    NV_CHECK(window.stride[i] <= kLargest && window.dilation[i] <= kLargest && window.padding[i] <= kLargest, op,
             "stride, padding and dilation must be 2^30 at most");
  }
}

std::int64_t output_size(const char* op, std::int64_t size, std::int64_t kernel, const Window& window, std::size_t i) {
  NV_CHECK(kernel <= kLargest, op, "kernels must have 2^30 rows and columns at most, got ", kernel);
  const std::int64_t room = size + 2 * window.padding[i] - window.dilation[i] * (kernel - 1) - 1;
  NV_CHECK(room >= 0 && kernel >= 1, op, "a kernel of ", kernel, " does not fit into the padded input of ",
           size + 2 * window.padding[i]);
  return room / window.stride[i] + 1;
}

/// The geometry of x (N, H, W, C) under a kernel (R, S) with K outputs.
Conv geometry(const char* op, const py::array& x, std::int64_t R, std::int64_t S, std::int64_t K,
              const Window& window) {
  check_window(op, window);
  NV_CHECK(x.ndim() == 4, op, "images must be (N, H, W, C), got ", shape_text(x));
  const std::int64_t H = x.shape(1), W = x.shape(2), C = x.shape(3);
  NV_CHECK(H >= 1 && W >= 1 && C >= 1, op, "images must be (N, H, W, C), only N may be 0, got ", shape_text(x));
  NV_CHECK(C % window.groups == 0 && K % window.groups == 0, op, "channels ", C, " and ", K,
           " must be multiples of groups = ", window.groups);
  return {x.shape(0),
          H,
          W,
          C,
          K,
          R,
          S,
          output_size(op, H, R, window, 0),
          output_size(op, W, S, window, 1),
          window.stride[0],
          window.stride[1],
          window.padding[0],
          window.padding[1],
          window.dilation[0],
          window.dilation[1],
          window.groups};
}

/// The same from a weight (R, S, C / groups, K).
Conv geometry(const char* op, const py::array& x, const py::array& weight, const Window& window) {
  NV_CHECK(weight.ndim() == 4 && weight.size() > 0, op, "weight must be (R, S, C / groups, K), got ",
           shape_text(weight));
  const Conv conv = geometry(op, x, weight.shape(0), weight.shape(1), weight.shape(3), window);
  NV_CHECK(weight.shape(2) == conv.group_inputs(), op,
           "weight must be (R, S, C / groups, K) with C / groups = ", conv.group_inputs(), ", got ",
           shape_text(weight));
  return conv;
}

void check_output(const char* op, const char* what, const py::array& y, const Conv& v) {
  check_shape(op, what, y, {v.N, v.P, v.Q, v.K});
}

void conv2d_forward(const py::array& x, const py::array& weight, const std::optional<py::array>& bias,
                    const Window& window, const std::string& activation, py::array& out) {
  constexpr const char* op = "conv2d_forward";
  const Conv conv = geometry(op, x, weight, window);
  const float *px = input(op, "x", x), *pw = input(op, "weight", weight);
  const float* pb = nullptr;
  if (bias) {
    check_shape(op, "bias", *bias, {conv.K});
    pb = input(op, "bias", *bias);
    check_apart(op, "out", out, "bias", *bias);
  }
  float* py = output(op, "out", out);
  check_output(op, "out", out, conv);
  NV_CHECK(!overlap(out, x) && !overlap(out, weight), op, "out must not share memory with x or weight");
  core::launch(conv.multiplications(),
               [=, options = ops::conv_options(), fused = ops::parse_activation(op, activation)] {
                 kernels::conv_forward(conv, options, px, pw, pb, fused, py);
               });
}

void conv2d_backward_data(const py::array& dy, const py::array& weight, const Window& window, py::array& out) {
  constexpr const char* op = "conv2d_backward_data";
  const Conv conv = geometry(op, out, weight, window);
  const float *pdy = input(op, "dy", dy), *pw = input(op, "weight", weight);
  check_output(op, "dy", dy, conv);
  float* dx = output(op, "out", out);
  NV_CHECK(!overlap(out, dy) && !overlap(out, weight), op, "out must not share memory with dy or weight");
  core::launch(conv.multiplications(), [=, options = ops::conv_options()] {
    kernels::conv_backward_data(conv, options, pdy, pw, nullptr, kernels::Activation::none, dx);
  });
}

void conv2d_backward_weight(const py::array& x, const py::array& dy, const Window& window, py::array& out) {
  constexpr const char* op = "conv2d_backward_weight";
  const Conv conv = geometry(op, x, out, window);
  const float *px = input(op, "x", x), *pdy = input(op, "dy", dy);
  check_output(op, "dy", dy, conv);
  float* dw = output(op, "out", out);
  NV_CHECK(!overlap(out, x) && !overlap(out, dy), op, "out must not share memory with x or dy");
  core::launch(conv.multiplications(),
               [=, options = ops::conv_options()] { kernels::conv_backward_weight(conv, options, px, pdy, dw); });
}

using KernelSize = std::array<std::int64_t, 2>;

void check_columns(const char* op, const char* what, const py::array& columns, const Conv& v) {
  check_shape(op, what, columns, {v.N, v.P, v.Q, v.R, v.S, v.C});
}

void im2col(const py::array& x, const KernelSize& kernel_size, const Window& window, py::array& out) {
  const Conv conv = geometry("im2col", x, kernel_size[0], kernel_size[1], 1, window);
  const float* px = input("im2col", "x", x);
  float* columns = output("im2col", "out", out);
  check_columns("im2col", "out", out, conv);
  NV_CHECK(!overlap(out, x), "im2col", "out must not share memory with x");
  core::launch(out.size(), [=] { kernels::im2col(conv, px, columns); });
}

void col2im(const py::array& columns, const KernelSize& kernel_size, const Window& window, py::array& out) {
  const Conv conv = geometry("col2im", out, kernel_size[0], kernel_size[1], 1, window);
  const float* source = input("col2im", "columns", columns);
  check_columns("col2im", "columns", columns, conv);
  float* px = output("col2im", "out", out);
  NV_CHECK(!overlap(out, columns), "col2im", "out must not share memory with columns");
  core::launch(columns.size(), [=] { kernels::col2im(conv, source, px); });
}

void bind_conv_arrays(py::module_ m) {
  py::class_<Window>(m, "Window")
      .def(py::init<std::array<std::int64_t, 2>, std::array<std::int64_t, 2>, std::array<std::int64_t, 2>,
                    std::int64_t>(),
           py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"));
  m.def("conv2d_forward", &conv2d_forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("window"),
        py::arg("activation"), py::arg("out"));
  m.def("conv2d_backward_data", &conv2d_backward_data, py::arg("dy"), py::arg("weight"), py::arg("window"),
        py::arg("out"));
  m.def("conv2d_backward_weight", &conv2d_backward_weight, py::arg("x"), py::arg("dy"), py::arg("window"),
        py::arg("out"));
  m.def("im2col", &im2col, py::arg("x"), py::arg("kernel_size"), py::arg("window"), py::arg("out"));
  m.def("col2im", &col2im, py::arg("columns"), py::arg("kernel_size"), py::arg("window"), py::arg("out"));
}

}  // namespace

void bind_conv(py::module_& m) {
  bind_conv_tensors(m);
  bind_settings(m);
  bind_conv_arrays(m.def_submodule("kernels"));
}

}  // namespace nervure::bindings
