// SPDX-License-Identifier: BSD-3-Clause
// The bare kernels on NumPy arrays: no tensors, no tape, no copies. What does not fit is refused, not converted.
#include <array>

#include "bindings/kernel_arrays.h"
#include "core/launch.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"
#include "kernels/softmax.h"
#include "kernels/unary.h"
#include "ops/activation.h"

namespace nervure::bindings {
namespace {

struct Matrix {
  const float* data;
  std::int64_t rows, columns, leading;
  bool transposed;  // lies column by column
};

/// A matrix whose rows or columns are contiguous: C order, Fortran order, or a block of one of these.
Matrix matrix(const char* what, const py::array& array) {
  check_float32("gemm", what, array);
  check_aligned("gemm", what, array);
  NV_CHECK(array.ndim() == 2, "gemm", what, " must be a matrix, got shape ", shape_text(array));
  constexpr py::ssize_t item = sizeof(float);
  const std::int64_t rows = array.shape(0), columns = array.shape(1);
  const py::ssize_t row_step = array.strides(0), column_step = array.strides(1);
  const auto* data = static_cast<const float*>(array.data());
  const auto fits = [](py::ssize_t step, std::int64_t length) { return step % item == 0 && step >= length * item; };
  if ((column_step == item || columns <= 1) && (rows <= 1 || fits(row_step, columns)))
    return {data, rows, columns, rows <= 1 ? columns : row_step / item, false};
  if ((row_step == item || rows <= 1) && (columns <= 1 || fits(column_step, rows)))
    return {data, rows, columns, columns <= 1 ? rows : column_step / item, true};
  throw std::invalid_argument(core::message("gemm", what, " must have contiguous rows or columns"));
}

void gemm(const py::array& a, const py::array& b, py::array& out, const std::optional<py::array>& bias,
          const std::string& activation, bool accumulate) {
  const Matrix A = matrix("a", a), B = matrix("b", b);
  NV_CHECK(A.columns == B.rows, "gemm", "a (M, K) and b (K, N) must agree in K, got ", shape_text(a), " and ",
           shape_text(b));
  float* c = output("gemm", "out", out);
  check_shape("gemm", "out", out, {A.rows, B.columns});
  check_apart("gemm", "out", out, "a", a);
  check_apart("gemm", "out", out, "b", b);
  const float* column_bias = nullptr;
  if (bias) {
    column_bias = input("gemm", "bias", *bias);
    check_shape("gemm", "bias", *bias, {B.columns});
    check_apart("gemm", "out", out, "bias", *bias);
  }
  const kernels::Gemm product{.M = A.rows,
                              .N = B.columns,
                              .K = A.columns,
                              .a = A.data,
                              .lda = A.leading,
                              .a_transposed = A.transposed,
                              .b = B.data,
                              .ldb = B.leading,
                              .b_transposed = B.transposed,
                              .c = c,
                              .ldc = B.columns,
                              .column_bias = column_bias,
                              .accumulate = accumulate,
                              .activation = ops::parse_activation("gemm", activation)};
  core::launch(A.rows * B.columns * std::max<std::int64_t>(A.columns, 1), [=] { kernels::gemm(product); });
}

/// An activation as the element-wise kernels name it, with PyTorch's default parameters.
struct UnaryActivation {
  kernels::Unary op;
  float p = 0.0f, q = 0.0f;
};

UnaryActivation unary_activation(const char* op, const std::string& name) {
  using kernels::Activation, kernels::Unary;
  switch (ops::parse_activation(op, name)) {
    case Activation::relu:
      return {Unary::relu};
    case Activation::leaky_relu:
      return {Unary::leaky_relu, 0.01f};
    case Activation::elu:
      return {Unary::elu, 1.0f};
    case Activation::gelu:
      return {Unary::gelu};
    case Activation::gelu_tanh:
      return {Unary::gelu_tanh};
    case Activation::silu:
      return {Unary::silu};
    case Activation::tanh:
      return {Unary::tanh};
    case Activation::sigmoid:
      return {Unary::sigmoid};
    case Activation::softplus:
      return {Unary::softplus, 1.0f, 20.0f};
    case Activation::hardtanh:
      return {Unary::hardtanh, -1.0f, 1.0f};
    case Activation::none:
      break;
  }
  throw std::invalid_argument(core::message(op, "needs the name of an activation"));
}

void activation_forward(const std::string& name, const py::array& x, py::array& out) {
  constexpr const char* op = "activation_forward";
  const UnaryActivation f = unary_activation(op, name);
  const float* source = input(op, "x", x);
  float* y = output(op, "out", out);
  check_same_shape(op, "out", out, x);
  check_same_or_apart(op, "out", out, "x", x);
  core::launch(x.size(), [=, n = x.size()] { kernels::unary_forward(f.op, source, y, n, f.p, f.q); });
}

void activation_backward(const std::string& name, const py::array& dy, const py::array& saved, py::array& out) {
  constexpr const char* op = "activation_backward";
  const UnaryActivation f = unary_activation(op, name);
  const float *dy_data = input(op, "dy", dy), *saved_data = input(op, "saved", saved);
  float* dx = output(op, "out", out);
  check_same_shape(op, "saved", saved, dy);
  check_same_shape(op, "out", out, dy);
  check_same_or_apart(op, "out", out, "dy", dy);
  check_same_or_apart(op, "out", out, "saved", saved);
  core::launch(dy.size(), [=, n = dy.size()] { kernels::unary_backward(f.op, dy_data, saved_data, dx, n, f.p, f.q); });
}

/// An array seen as rows along its last axis.
kernels::ReduceShape last_axis(const char* op, const py::array& x) {
  NV_CHECK(x.ndim() >= 1, op, "x must have at least one dimension");
  const std::int64_t n = x.shape(x.ndim() - 1);
  return {n ? x.size() / n : 0, n, 1};
}

template <class Kernel>
void rowwise_forward(const char* op, const Kernel& kernel, const py::array& x, py::array& out) {
  const kernels::ReduceShape shape = last_axis(op, x);
  const float* source = input(op, "x", x);
  float* y = output(op, "out", out);
  check_same_shape(op, "out", out, x);
  check_same_or_apart(op, "out", out, "x", x);
  core::launch(x.size(), [=, &kernel] { kernel(shape, source, y); });
}

template <class Kernel>
void rowwise_backward(const char* op, const Kernel& kernel, const py::array& dy, const py::array& y, py::array& out) {
  const kernels::ReduceShape shape = last_axis(op, y);
  const float *y_data = input(op, "y", y), *dy_data = input(op, "dy", dy);
  float* dx = output(op, "out", out);
  check_same_shape(op, "dy", dy, y);
  check_same_shape(op, "out", out, y);
  check_same_or_apart(op, "out", out, "dy", dy);
  check_same_or_apart(op, "out", out, "y", y);
  core::launch(y.size(), [=, &kernel] { kernel(shape, y_data, dy_data, dx); });
}

void cross_entropy_forward(const py::array& logits, const py::array& target, py::array& loss,
                           std::optional<py::array>& gradient) {
  constexpr const char* op = "cross_entropy_forward";
  constexpr std::int64_t kNothingIgnored = INT64_MIN;
  NV_CHECK(logits.ndim() == 2, op, "logits must be (N, C), got ", shape_text(logits));
  NV_CHECK_TYPE(target.dtype().equal(py::dtype::of<std::int64_t>()), op, "target must be int64, got ",
                py::str(target.dtype()).cast<std::string>());
  check_c_contiguous(op, "target", target);
  check_aligned(op, "target", target);
  const py::ssize_t rows = logits.shape(0), classes = logits.shape(1);
  check_shape(op, "target", target, {rows});
  check_shape(op, "loss", loss, {rows});
  if (gradient) check_same_shape(op, "gradient", *gradient, logits);
  const float* x = input(op, "logits", logits);
  float* losses = output(op, "loss", loss);
  float* dx = gradient ? output(op, "gradient", *gradient) : nullptr;
  check_apart(op, "loss", loss, "logits", logits);
  check_apart(op, "loss", loss, "target", target);
  if (gradient) {
    check_apart(op, "gradient", *gradient, "logits", logits);
    check_apart(op, "gradient", *gradient, "target", target);
    check_apart(op, "gradient", *gradient, "loss", loss);
  }
  const kernels::CrossEntropyShape shape{rows, classes};
  const auto* labels = static_cast<const std::int64_t*>(target.data());
  const std::int64_t bad = kernels::find_invalid_target(labels, shape, kNothingIgnored);
  NV_CHECK_INDEX(bad < 0, op, "target ", labels[bad], " of row ", bad, " is not a class from 0 to ", classes - 1);
  const kernels::CrossEntropyOptions options{nullptr, kNothingIgnored, 0.0f};
  core::launch(rows * classes, [=] { kernels::cross_entropy_forward(shape, x, labels, options, nullptr, losses, dx); });
}

struct NamedArray {
  const char* name;
  const py::array* array;  // or null
};

const py::array* pointer(const std::optional<py::array>& array) { return array ? &*array : nullptr; }

/// A step reads one element of each array and writes some: no two may share memory.
void check_all_apart(const char* op, const std::vector<NamedArray>& arrays) {
  for (std::size_t i = 0; i < arrays.size(); ++i)
    for (std::size_t k = 0; k < i; ++k)
      if (arrays[i].array && arrays[k].array)
        check_apart(op, arrays[i].name, *arrays[i].array, arrays[k].name, *arrays[k].array);
}

/// One parameter array as a list of one parameter with its gradient, over the arrays' own memory.
std::vector<Tensor> parameter_list(const char* op, const py::array& parameter, const py::array& gradient) {
  check_float32(op, "parameter", parameter);
  check_float32(op, "gradient", gradient);
  check_same_shape(op, "gradient", gradient, parameter);
  check_c_contiguous(op, "parameter", parameter);
  check_c_contiguous(op, "gradient", gradient);
  const Tensor p = tensor_over_array(op, parameter);
  p.set_grad(tensor_over_array(op, gradient));
  return {p};
}

std::vector<Tensor> state_list(const char* op, const std::optional<py::array>& state, const py::array& parameter) {
  if (!state) return {};
  check_float32(op, "state", *state);
  check_c_contiguous(op, "state", *state);
  check_same_shape(op, "state", *state, parameter);
  return {tensor_over_array(op, *state)};
}

void bind_steps(py::module_& m) {
  m.def(
      "sgd_step",
      [](const py::array& parameter, const py::array& gradient, const std::optional<py::array>& momentum_buffer,
         double lr, double momentum, double dampening, double weight_decay, bool nesterov, bool first_step) {
        check_all_apart(
            "sgd_step",
            {{"parameter", &parameter}, {"gradient", &gradient}, {"momentum_buffer", pointer(momentum_buffer)}});
        ops::sgd_step(parameter_list("sgd_step", parameter, gradient),
                      state_list("sgd_step", momentum_buffer, parameter),
                      {lr, momentum, dampening, weight_decay, 0.0, nesterov, false, first_step});
      },
      py::arg("parameter"), py::arg("gradient"), py::arg("momentum_buffer"), py::arg("lr"), py::arg("momentum"),
      py::arg("dampening"), py::arg("weight_decay"), py::arg("nesterov"), py::arg("first_step"));
  m.def(
      "rmsprop_step",
      [](const py::array& parameter, const py::array& gradient, const py::array& square_average,
         const std::optional<py::array>& momentum_buffer, const std::optional<py::array>& gradient_average, double lr,
         double alpha, double eps, double weight_decay, double momentum) {
        check_all_apart("rmsprop_step", {{"parameter", &parameter},
                                         {"gradient", &gradient},
                                         {"square_average", &square_average},
                                         {"momentum_buffer", pointer(momentum_buffer)},
                                         {"gradient_average", pointer(gradient_average)}});
        ops::rmsprop_step(parameter_list("rmsprop_step", parameter, gradient),
                          state_list("rmsprop_step", square_average, parameter),
                          state_list("rmsprop_step", momentum_buffer, parameter),
                          state_list("rmsprop_step", gradient_average, parameter),
                          {lr, alpha, eps, weight_decay, momentum, 0.0, gradient_average.has_value(), false});
      },
      py::arg("parameter"), py::arg("gradient"), py::arg("square_average"), py::arg("momentum_buffer"),
      py::arg("gradient_average"), py::arg("lr"), py::arg("alpha"), py::arg("eps"), py::arg("weight_decay"),
      py::arg("momentum"));
  m.def(
      "adam_step",
      [](const py::array& parameter, const py::array& gradient, const py::array& first_moment,
         const py::array& second_moment, double lr, double beta1, double beta2, double eps, double weight_decay,
         bool decoupled_weight_decay, std::int64_t step) {
        check_all_apart("adam_step", {{"parameter", &parameter},
                                      {"gradient", &gradient},
                                      {"first_moment", &first_moment},
                                      {"second_moment", &second_moment}});
        ops::adam_step(parameter_list("adam_step", parameter, gradient),
                       state_list("adam_step", first_moment, parameter),
                       state_list("adam_step", second_moment, parameter), {},
                       {lr, beta1, beta2, eps, weight_decay, 0.0, decoupled_weight_decay, false, false, step});
      },
      py::arg("parameter"), py::arg("gradient"), py::arg("first_moment"), py::arg("second_moment"), py::arg("lr"),
      py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("decoupled_weight_decay"),
      py::arg("step"));
}

}  // namespace

void bind_kernels(py::module_& parent) {
  py::module_ m = parent.def_submodule("kernels", "The bare kernels on NumPy arrays; see nervure.kernels.");
  m.def("gemm", &gemm, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("bias"), py::arg("activation"),
        py::arg("accumulate"));
  m.def("activation_forward", &activation_forward, py::arg("name"), py::arg("x"), py::arg("out"));
  m.def("activation_backward", &activation_backward, py::arg("name"), py::arg("dy"), py::arg("saved"), py::arg("out"));
  m.def(
      "softmax_forward",
      [](const py::array& x, py::array& out) { rowwise_forward("softmax_forward", kernels::softmax_forward, x, out); },
      py::arg("x"), py::arg("out"));
  m.def(
      "log_softmax_forward",
      [](const py::array& x, py::array& out) {
        rowwise_forward("log_softmax_forward", kernels::log_softmax_forward, x, out);
      },
      py::arg("x"), py::arg("out"));
  m.def(
      "softmax_backward",
      [](const py::array& dy, const py::array& y, py::array& out) {
        rowwise_backward("softmax_backward", kernels::softmax_backward, dy, y, out);
      },
      py::arg("dy"), py::arg("y"), py::arg("out"));
  m.def(
      "log_softmax_backward",
      [](const py::array& dy, const py::array& y, py::array& out) {
        rowwise_backward("log_softmax_backward", kernels::log_softmax_backward, dy, y, out);
      },
      py::arg("dy"), py::arg("y"), py::arg("out"));
  m.def("cross_entropy_forward", &cross_entropy_forward, py::arg("logits"), py::arg("target"), py::arg("loss"),
        py::arg("gradient"));
  bind_steps(m);
}

}  // namespace nervure::bindings
