// SPDX-License-Identifier: BSD-3-Clause
// Normalisation on tensors, and the bare kernels on NumPy arrays.
#include "bindings/kernel_arrays.h"
#include "core/launch.h"
#include "kernels/channel_norm.h"
#include "kernels/row_norm.h"

namespace nervure::bindings {
namespace {

using OptionalArray = std::optional<py::array>;

void bind_channel_ops(py::module_& m) {
  m.def(
      "batch_norm",
      [](const Tensor& x, const OptionalTensor& running_mean, const OptionalTensor& running_var,
         const OptionalTensor& weight, const OptionalTensor& bias, bool training, double momentum, double eps,
         const std::string& activation) {
        return ops::batch_norm(x, or_undefined(running_mean), or_undefined(running_var), or_undefined(weight),
                               or_undefined(bias), training, momentum, eps, activation);
      },
      py::arg("x"), written("running_mean"), written("running_var"), py::arg("weight") = py::none(),
      py::arg("bias") = py::none(), py::arg("training") = false, py::arg("momentum") = 0.1, py::arg("eps") = 1e-5,
      py::arg("activation") = "");
  m.def(
      "instance_norm",
      [](const Tensor& x, const OptionalTensor& running_mean, const OptionalTensor& running_var,
         const OptionalTensor& weight, const OptionalTensor& bias, bool use_input_stats, double momentum, double eps) {
        return ops::instance_norm(x, or_undefined(running_mean), or_undefined(running_var), or_undefined(weight),
                                  or_undefined(bias), use_input_stats, momentum, eps);
      },
      py::arg("x"), written("running_mean") = py::none(), written("running_var") = py::none(),
      py::arg("weight") = py::none(), py::arg("bias") = py::none(), py::arg("use_input_stats") = true,
      py::arg("momentum") = 0.1, py::arg("eps") = 1e-5);
  m.def(
      "group_norm",
      [](const Tensor& x, std::int64_t num_groups, const OptionalTensor& weight, const OptionalTensor& bias,
         double eps) { return ops::group_norm(x, num_groups, or_undefined(weight), or_undefined(bias), eps); },
      py::arg("x"), py::arg("num_groups"), py::arg("weight") = py::none(), py::arg("bias") = py::none(),
      py::arg("eps") = 1e-5);
}

void bind_row_ops(py::module_& m) {
  m.def(
      "layer_norm",
      [](const Tensor& x, const IntList& normalized_shape, const OptionalTensor& weight, const OptionalTensor& bias,
         double eps) {
        return ops::layer_norm(x, normalized_shape.values, or_undefined(weight), or_undefined(bias), eps);
      },
      py::arg("x"), py::arg("normalized_shape"), py::arg("weight") = py::none(), py::arg("bias") = py::none(),
      py::arg("eps") = 1e-5);
  m.def(
      "rms_norm",
      [](const Tensor& x, const IntList& normalized_shape, const OptionalTensor& weight, std::optional<double> eps) {
        return ops::rms_norm(x, normalized_shape.values, or_undefined(weight), eps);
      },
      py::arg("x"), py::arg("normalized_shape"), py::arg("weight") = py::none(), py::arg("eps") = py::none());
}

// ---- bare kernels -------------------------------------------------------------------------------------------------

const float* parameter(const char* op, const char* what, const OptionalArray& array, std::int64_t n) {
  if (!array) return nullptr;
  check_shape(op, what, *array, {n});
  return input(op, what, *array);
}

float* gradient(const char* op, const char* what, OptionalArray& array, std::int64_t n) {
  if (!array) return nullptr;
  check_shape(op, what, *array, {n});
  return output(op, what, *array);
}

/// `written` shares no memory with `other`, which may be missing.
void check_apart(const char* op, const char* what, const py::array& written, const char* other_what,
                 const OptionalArray& other) {
  if (other) bindings::check_apart(op, what, written, other_what, *other);
}

/// `written` is apart from all that a kernel reads per column.
void check_parameters(const char* op, const char* what, const py::array& written, const OptionalArray& weight,
                      const OptionalArray& bias) {
  check_apart(op, what, written, "weight", weight);
  check_apart(op, what, written, "bias", bias);
}

/// What a forward writes: y may be x itself.
void check_forward(const char* op, const py::array& x, const OptionalArray& weight, const OptionalArray& bias,
                   const py::array& out, const py::array& statistics) {
  check_same_or_apart(op, "out", out, "x", x);
  bindings::check_apart(op, "statistics", statistics, "x", x);
  bindings::check_apart(op, "statistics", statistics, "out", out);
  check_parameters(op, "out", out, weight, bias);
  check_parameters(op, "statistics", statistics, weight, bias);
}

/// What a backward writes: dx may be dy or x itself, the gradients of the parameters share memory with nothing.
void check_backward(const char* op, const py::array& dy, const py::array& x, const py::array& statistics,
                    const OptionalArray& weight, const OptionalArray& bias, const py::array& out,
                    const OptionalArray& dweight, const OptionalArray& dbias) {
  check_same_or_apart(op, "out", out, "dy", dy);
  check_same_or_apart(op, "out", out, "x", x);
  bindings::check_apart(op, "out", out, "statistics", statistics);
  check_parameters(op, "out", out, weight, bias);
  for (const auto& [what, written] : {std::pair{"dweight", &dweight}, {"dbias", &dbias}}) {
    if (!*written) continue;
    for (const auto& [other_what, other] :
         {std::pair{"dy", &dy}, {"x", &x}, {"statistics", &statistics}, {"out", &out}})
      bindings::check_apart(op, what, **written, other_what, *other);
    check_parameters(op, what, **written, weight, bias);
  }
  if (dweight) check_apart(op, "dweight", *dweight, "dbias", dbias);
}

/// Sizes of an array seen as rows along its last axis.
struct Rows {
  std::int64_t rows, n;
};

Rows rows_of(const char* op, const py::array& x) {
  NV_CHECK(x.ndim() >= 2 && x.size() > 0, op, "x must have at least two dimensions and not be empty, got ",
           shape_text(x));
  const std::int64_t n = x.shape(x.ndim() - 1);
  return {x.size() / n, n};
}

kernels::ChannelNorm batch(const char* op, const py::array& x, const OptionalArray& weight, const OptionalArray& bias,
                           bool relu) {
  const Rows r = rows_of(op, x);
  NV_CHECK(r.rows > 1, op, "expected more than 1 value per channel, got ", shape_text(x));
  return {1, r.rows, r.n, r.n, parameter(op, "weight", weight, r.n), parameter(op, "bias", bias, r.n), relu};
}

void batch_norm_forward(const py::array& x, const OptionalArray& weight, const OptionalArray& bias, double eps,
                        bool relu, py::array& out, py::array& statistics) {
  constexpr const char* op = "batch_norm_forward";
  const kernels::ChannelNorm norm = batch(op, x, weight, bias, relu);
  const float* px = input(op, "x", x);
  float *y = output(op, "out", out), *s = output(op, "statistics", statistics);
  check_same_shape(op, "out", out, x);
  check_shape(op, "statistics", statistics, {4, norm.channels});
  check_forward(op, x, weight, bias, out, statistics);
  const std::int64_t c = norm.channels;
  core::launch(4 * x.size(),
               [=] { kernels::channel_norm_forward(norm, eps, px, y, {s, s + c, s + 2 * c, s + 3 * c}); });
}

void batch_norm_backward(const py::array& dy, const py::array& x, const py::array& statistics,
                         const OptionalArray& weight, const OptionalArray& bias, bool relu, py::array& out,
                         OptionalArray& dweight, OptionalArray& dbias) {
  constexpr const char* op = "batch_norm_backward";
  const kernels::ChannelNorm norm = batch(op, x, weight, bias, relu);
  const std::int64_t c = norm.channels;
  const float *px = input(op, "x", x), *pdy = input(op, "dy", dy), *s = input(op, "statistics", statistics);
  check_same_shape(op, "dy", dy, x);
  check_shape(op, "statistics", statistics, {4, c});
  float* dx = output(op, "out", out);
  check_same_shape(op, "out", out, x);
  float *dw = gradient(op, "dweight", dweight, c), *db = gradient(op, "dbias", dbias, c);
  check_backward(op, dy, x, statistics, weight, bias, out, dweight, dbias);
  core::launch(8 * x.size(),
               [=] { kernels::channel_norm_backward(norm, {s, s + c, s + 2 * c}, true, px, pdy, dx, dw, db); });
}

kernels::RowNorm layer(const char* op, const py::array& x, const OptionalArray& weight, const OptionalArray& bias) {
  const Rows r = rows_of(op, x);
  return {r.rows, r.n, parameter(op, "weight", weight, r.n), parameter(op, "bias", bias, r.n), true};
}

void layer_norm_forward(const py::array& x, const OptionalArray& weight, const OptionalArray& bias, double eps,
                        py::array& out, py::array& statistics) {
  constexpr const char* op = "layer_norm_forward";
  const kernels::RowNorm norm = layer(op, x, weight, bias);
  const float* px = input(op, "x", x);
  float *y = output(op, "out", out), *s = output(op, "statistics", statistics);
  check_same_shape(op, "out", out, x);
  check_shape(op, "statistics", statistics, {norm.rows, 3});
  check_forward(op, x, weight, bias, out, statistics);
  core::launch(8 * x.size(), [=] { kernels::row_norm_forward(norm, eps, px, y, s); });
}

void layer_norm_backward(const py::array& dy, const py::array& x, const py::array& statistics,
                         const OptionalArray& weight, py::array& out, OptionalArray& dweight, OptionalArray& dbias) {
  constexpr const char* op = "layer_norm_backward";
  const kernels::RowNorm norm = layer(op, x, weight, std::nullopt);
  const float *px = input(op, "x", x), *pdy = input(op, "dy", dy), *s = input(op, "statistics", statistics);
  check_same_shape(op, "dy", dy, x);
  check_shape(op, "statistics", statistics, {norm.rows, 3});
  float* dx = output(op, "out", out);
  check_same_shape(op, "out", out, x);
  float *dw = gradient(op, "dweight", dweight, norm.n), *db = gradient(op, "dbias", dbias, norm.n);
  check_backward(op, dy, x, statistics, weight, std::nullopt, out, dweight, dbias);
  core::launch(8 * x.size(), [=] { kernels::row_norm_backward(norm, s, px, pdy, dx, dw, db); });
}

void bind_norm_arrays(py::module_ m) {
  m.def("batch_norm_forward", &batch_norm_forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("eps"),
        py::arg("relu"), py::arg("out"), py::arg("statistics"));
  m.def("batch_norm_backward", &batch_norm_backward, py::arg("dy"), py::arg("x"), py::arg("statistics"),
        py::arg("weight"), py::arg("bias"), py::arg("relu"), py::arg("out"), py::arg("dweight"), py::arg("dbias"));
  m.def("layer_norm_forward", &layer_norm_forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("eps"),
        py::arg("out"), py::arg("statistics"));
  m.def("layer_norm_backward", &layer_norm_backward, py::arg("dy"), py::arg("x"), py::arg("statistics"),
        py::arg("weight"), py::arg("out"), py::arg("dweight"), py::arg("dbias"));
}

}  // namespace

void bind_norm(py::module_& m) {
  bind_channel_ops(m);
  bind_row_ops(m);
  bind_norm_arrays(m.def_submodule("kernels"));
}

}  // namespace nervure::bindings
