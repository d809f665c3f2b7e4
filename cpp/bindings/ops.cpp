// SPDX-License-Identifier: BSD-3-Clause
// One line for each operation of ops.h: names and defaults, no arithmetic.
#include "bindings/bindings.h"

namespace nervure::bindings {
namespace {

using ops::Dims;
using Tensors = std::vector<Tensor>;

Tensors or_empty(const std::optional<Tensors>& tensors) { return tensors.value_or(Tensors()); }

void bind_layout(py::module_& m) {
  m.def(
      "to_order",
      [](const Tensor& x, const std::vector<int>& order) { return ops::to_order(x, order_of(x.rank(), order)); },
      py::arg("x"), py::arg("order"));
  m.def("row_major", &ops::row_major, py::arg("x"));
  m.def("cast", &ops::cast, py::arg("x"), py::arg("dtype"));
  m.def("clone", &ops::clone, py::arg("x"));
  m.def("copy_", &ops::copy_, written("target"), py::arg("source"));
}

void bind_creation(py::module_& m) {
  m.def(
      "empty",
      [](const IntList& shape, const std::optional<std::vector<int>>& order, DType dtype) {
        const Shape sizes(shape.values);
        return Tensor::empty(sizes, dtype,
                             order ? order_of(sizes.rank(), *order) : core::Order::row_major(sizes.rank()));
      },
      py::arg("shape"), py::arg("order") = py::none(), py::arg("dtype") = DType::float32);
  m.def(
      "full",
      [](const IntList& shape, const ops::Number& value, DType dtype) {
        return ops::full(Shape(shape.values), value, dtype);
      },
      py::arg("shape"), py::arg("value"), py::arg("dtype") = DType::float32);
  m.def("arange", &ops::arange, py::arg("start"), py::arg("end"), py::arg("step") = 1,
        py::arg("dtype") = DType::float32);
  m.def("fill_", &ops::fill_, written("x"), py::arg("value"));
  m.def("rand", [](const IntList& shape) { return ops::rand(Shape(shape.values)); }, py::arg("shape"));
  m.def("randn", [](const IntList& shape) { return ops::randn(Shape(shape.values)); }, py::arg("shape"));
  m.def(
      "randint",
      [](std::int64_t low, std::int64_t high, const IntList& shape) {
        return ops::randint(low, high, Shape(shape.values));
      },
      py::arg("low"), py::arg("high"), py::arg("shape"));
  m.def("randperm", &ops::randperm, py::arg("n"));
  m.def("uniform_", &ops::uniform_, written("x"), py::arg("low") = 0.0, py::arg("high") = 1.0);
  m.def("normal_", &ops::normal_, written("x"), py::arg("mean") = 0.0, py::arg("std") = 1.0);
  m.def("trunc_normal_", &ops::trunc_normal_, written("x"), py::arg("mean") = 0.0, py::arg("std") = 1.0,
        py::arg("low") = -2.0, py::arg("high") = 2.0);
  m.def("bernoulli_", &ops::bernoulli_, written("x"), py::arg("probability") = 0.5);
}

void bind_binary(py::module_& m) {
  using Binary = Tensor (*)(const Tensor&, const Tensor&);
  const std::pair<const char*, Binary> binary[] = {{"add", ops::add},
                                                   {"sub", ops::sub},
                                                   {"mul", ops::mul},
                                                   {"div", ops::div},
                                                   {"maximum", ops::maximum},
                                                   {"minimum", ops::minimum},
                                                   {"eq", ops::eq},
                                                   {"ne", ops::ne},
                                                   {"lt", ops::lt},
                                                   {"le", ops::le},
                                                   {"gt", ops::gt},
                                                   {"ge", ops::ge},
                                                   {"logical_and", ops::logical_and},
                                                   {"logical_or", ops::logical_or},
                                                   {"matmul", ops::matmul}};
  for (const auto& [name, op] : binary) m.def(name, op, py::arg("a"), py::arg("b"));
  m.def("pow", &ops::pow, py::arg("base"), py::arg("exponent"));
  m.def("logical_not", &ops::logical_not, py::arg("a"));
  m.def("where", &ops::where, py::arg("condition"), py::arg("a"), py::arg("b"));
  m.def("masked_fill", &ops::masked_fill, py::arg("x"), py::arg("mask"), py::arg("value"));
}

void bind_unary(py::module_& m) {
  using Unary = Tensor (*)(const Tensor&);
  const std::pair<const char*, Unary> unary[] = {{"neg", ops::neg},
                                                 {"abs", ops::abs},
                                                 {"exp", ops::exp},
                                                 {"log", ops::log},
                                                 {"sqrt", ops::sqrt},
                                                 {"square", ops::square},
                                                 {"reciprocal", ops::reciprocal},
                                                 {"sin", ops::sin},
                                                 {"cos", ops::cos},
                                                 {"relu", ops::relu},
                                                 {"silu", ops::silu},
                                                 {"tanh", ops::tanh},
                                                 {"sigmoid", ops::sigmoid},
                                                 {"isnan", ops::isnan},
                                                 {"isfinite", ops::isfinite}};
  for (const auto& [name, op] : unary) m.def(name, op, py::arg("x"));
  m.def("clip", &ops::clip, py::arg("x"), py::arg("low") = py::none(), py::arg("high") = py::none());
  m.def("leaky_relu", &ops::leaky_relu, py::arg("x"), py::arg("negative_slope") = 0.01);
  m.def("elu", &ops::elu, py::arg("x"), py::arg("alpha") = 1.0);
  m.def("gelu", &ops::gelu, py::arg("x"), py::arg("approximate") = "none");
  m.def("softplus", &ops::softplus, py::arg("x"), py::arg("beta") = 1.0, py::arg("threshold") = 20.0);
  m.def("hardtanh", &ops::hardtanh, py::arg("x"), py::arg("min_val") = -1.0, py::arg("max_val") = 1.0);
}

void bind_reduce(py::module_& m) {
  using Reduce = Tensor (*)(const Tensor&, const Dims&, bool);
  const std::pair<const char*, Reduce> reductions[] = {
      {"sum", ops::sum}, {"mean", ops::mean}, {"amax", ops::amax}, {"amin", ops::amin}, {"logsumexp", ops::logsumexp},
      {"any", ops::any}, {"all", ops::all}};
  for (const auto& [name, op] : reductions)
    m.def(
        name, [op = op](const Tensor& x, const IntList& dim, bool keepdim) { return op(x, dim.values, keepdim); },
        py::arg("x"), py::arg("dim") = py::none(), py::arg("keepdim") = false);
  using Spread = Tensor (*)(const Tensor&, const Dims&, bool, std::int64_t);
  const std::pair<const char*, Spread> spreads[] = {{"var", ops::var}, {"standard_deviation", ops::standard_deviation}};
  for (const auto& [name, op] : spreads)
    m.def(
        name,
        [op = op](const Tensor& x, const IntList& dim, bool keepdim, std::int64_t correction) {
          return op(x, dim.values, keepdim, correction);
        },
        py::arg("x"), py::arg("dim") = py::none(), py::arg("keepdim") = false, py::arg("correction") = 1);
  m.def("max", &ops::max, py::arg("x"), py::arg("dim"), py::arg("keepdim") = false);
  m.def("min", &ops::min, py::arg("x"), py::arg("dim"), py::arg("keepdim") = false);
  m.def("argmax", &ops::argmax, py::arg("x"), py::arg("dim") = py::none(), py::arg("keepdim") = false);
  m.def("argmin", &ops::argmin, py::arg("x"), py::arg("dim") = py::none(), py::arg("keepdim") = false);
  m.def(
      "norm",
      [](const Tensor& x, double p, const IntList& dim, bool keepdim) { return ops::norm(x, p, dim.values, keepdim); },
      py::arg("x"), py::arg("p") = 2.0, py::arg("dim") = py::none(), py::arg("keepdim") = false);
  m.def("prod", &ops::prod, py::arg("x"), py::arg("dim") = py::none(), py::arg("keepdim") = false);
  m.def("cumsum", &ops::cumsum, py::arg("x"), py::arg("dim"));
  m.def("topk", &ops::topk, py::arg("x"), py::arg("k"), py::arg("dim") = -1, py::arg("largest") = true,
        py::arg("sorted") = true);
}

void bind_shape(py::module_& m) {
  m.def(
      "reshape", [](const Tensor& x, const IntList& shape) { return ops::reshape(x, shape.values); }, py::arg("x"),
      py::arg("shape"));
  m.def(
      "permute", [](const Tensor& x, const IntList& dims) { return ops::permute(x, dims.values); }, py::arg("x"),
      py::arg("dims"));
  m.def("transpose", &ops::transpose, py::arg("x"), py::arg("dim0"), py::arg("dim1"));
  m.def("squeeze", &ops::squeeze, py::arg("x"), py::arg("dim") = py::none());
  m.def("unsqueeze", &ops::unsqueeze, py::arg("x"), py::arg("dim"));
  m.def("flatten", &ops::flatten, py::arg("x"), py::arg("start_dim") = 0, py::arg("end_dim") = -1);
  m.def(
      "expand", [](const Tensor& x, const IntList& shape) { return ops::expand(x, shape.values); }, py::arg("x"),
      py::arg("shape"));
  m.def(
      "flip", [](const Tensor& x, const IntList& dims) { return ops::flip(x, dims.values); }, py::arg("x"),
      py::arg("dims"));
  m.def("cat", &ops::cat, py::arg("tensors"), py::arg("dim") = 0);
  m.def("stack", &ops::stack, py::arg("tensors"), py::arg("dim") = 0);
  m.def(
      "split", [](const Tensor& x, const IntList& sizes, std::int64_t dim) { return ops::split(x, sizes.values, dim); },
      py::arg("x"), py::arg("sizes"), py::arg("dim") = 0);
  m.def("chunk", &ops::chunk, py::arg("x"), py::arg("chunks"), py::arg("dim") = 0);
}

void bind_index(py::module_& m) {
  m.def("slice", &ops::slice, py::arg("x"), py::arg("dim"), py::arg("start"), py::arg("stop"), py::arg("step") = 1);
  m.def("select", &ops::select, py::arg("x"), py::arg("dim"), py::arg("index"));
  m.def("index_select", &ops::index_select, py::arg("x"), py::arg("dim"), py::arg("indices"));
  m.def("take_rows", &ops::take_rows, py::arg("x"), py::arg("indices"));
  m.def("masked_select", &ops::masked_select, py::arg("x"), py::arg("mask"));
  m.def("gather", &ops::gather, py::arg("x"), py::arg("dim"), py::arg("indices"));
}

void bind_layers(py::module_& m) {
  m.def(
      "linear",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const std::string& activation) {
        return ops::linear(x, weight, or_undefined(bias), activation);
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("activation") = "");
  m.def("softmax", &ops::softmax, py::arg("x"), py::arg("dim"));
  m.def("log_softmax", &ops::log_softmax, py::arg("x"), py::arg("dim"));
  m.def("dropout", &ops::dropout, py::arg("x"), py::arg("p") = 0.5);
  m.def("dropout2d", &ops::dropout2d, py::arg("x"), py::arg("p") = 0.5);
}

void bind_losses(py::module_& m) {
  m.def(
      "cross_entropy",
      [](const Tensor& input, const Tensor& target, const OptionalTensor& weight, std::int64_t ignore_index,
         double label_smoothing, const std::string& reduction) {
        return ops::cross_entropy(input, target, or_undefined(weight), ignore_index, label_smoothing, reduction);
      },
      py::arg("input"), py::arg("target"), py::arg("weight") = py::none(), py::arg("ignore_index") = -100,
      py::arg("label_smoothing") = 0.0, py::arg("reduction") = "mean");
  m.def(
      "nll_loss",
      [](const Tensor& log_probabilities, const Tensor& target, const OptionalTensor& weight, std::int64_t ignore_index,
         const std::string& reduction) {
        return ops::nll_loss(log_probabilities, target, or_undefined(weight), ignore_index, reduction);
      },
      py::arg("log_probabilities"), py::arg("target"), py::arg("weight") = py::none(), py::arg("ignore_index") = -100,
      py::arg("reduction") = "mean");
  m.def(
      "binary_cross_entropy",
      [](const Tensor& probabilities, const Tensor& target, const OptionalTensor& weight,
         const std::string& reduction) {
        return ops::binary_cross_entropy(probabilities, target, or_undefined(weight), reduction);
      },
      py::arg("probabilities"), py::arg("target"), py::arg("weight") = py::none(), py::arg("reduction") = "mean");
  m.def(
      "binary_cross_entropy_with_logits",
      [](const Tensor& input, const Tensor& target, const OptionalTensor& weight, const OptionalTensor& pos_weight,
         const std::string& reduction) {
        return ops::binary_cross_entropy_with_logits(input, target, or_undefined(weight), or_undefined(pos_weight),
                                                     reduction);
      },
      py::arg("input"), py::arg("target"), py::arg("weight") = py::none(), py::arg("pos_weight") = py::none(),
      py::arg("reduction") = "mean");
  m.def("mse_loss", &ops::mse_loss, py::arg("input"), py::arg("target"), py::arg("reduction") = "mean");
  m.def("l1_loss", &ops::l1_loss, py::arg("input"), py::arg("target"), py::arg("reduction") = "mean");
  m.def("huber_loss", &ops::huber_loss, py::arg("input"), py::arg("target"), py::arg("delta") = 1.0,
        py::arg("reduction") = "mean");
  m.def("smooth_l1_loss", &ops::smooth_l1_loss, py::arg("input"), py::arg("target"), py::arg("beta") = 1.0,
        py::arg("reduction") = "mean");
  m.def("kl_div", &ops::kl_div, py::arg("log_probabilities"), py::arg("target"), py::arg("log_target") = false,
        py::arg("reduction") = "mean");
}

void bind_optim(py::module_& m) {
  m.def(
      "sgd_step",
      [](const Tensors& parameters, const std::optional<Tensors>& momentum_buffers, double lr, double momentum,
         double dampening, double weight_decay, double l1, bool nesterov, bool maximize, bool first_step,
         double clip_value) {
        ops::sgd_step(parameters, or_empty(momentum_buffers),
                      {lr, momentum, dampening, weight_decay, l1, nesterov, maximize, first_step, clip_value});
      },
      py::arg("parameters"), py::arg("momentum_buffers"), py::arg("lr"), py::arg("momentum"), py::arg("dampening"),
      py::arg("weight_decay"), py::arg("l1"), py::arg("nesterov"), py::arg("maximize"), py::arg("first_step"),
      py::arg("clip_value") = ops::kNoLimit);
  m.def(
      "rmsprop_step",
      [](const Tensors& parameters, const Tensors& square_averages, const std::optional<Tensors>& momentum_buffers,
         const std::optional<Tensors>& gradient_averages, double lr, double alpha, double eps, double weight_decay,
         double momentum, double l1, bool centered, bool maximize, double clip_value) {
        ops::rmsprop_step(parameters, square_averages, or_empty(momentum_buffers), or_empty(gradient_averages),
                          {lr, alpha, eps, weight_decay, momentum, l1, centered, maximize, clip_value});
      },
      py::arg("parameters"), py::arg("square_averages"), py::arg("momentum_buffers"), py::arg("gradient_averages"),
      py::arg("lr"), py::arg("alpha"), py::arg("eps"), py::arg("weight_decay"), py::arg("momentum"), py::arg("l1"),
      py::arg("centered"), py::arg("maximize"), py::arg("clip_value") = ops::kNoLimit);
  m.def(
      "adagrad_step",
      [](const Tensors& parameters, const Tensors& square_sums, double lr, double lr_decay, double weight_decay,
         double eps, double l1, bool maximize, std::int64_t step, double clip_value) {
        ops::adagrad_step(parameters, square_sums, {lr, lr_decay, weight_decay, eps, l1, maximize, step, clip_value});
      },
      py::arg("parameters"), py::arg("square_sums"), py::arg("lr"), py::arg("lr_decay"), py::arg("weight_decay"),
      py::arg("eps"), py::arg("l1"), py::arg("maximize"), py::arg("step"), py::arg("clip_value") = ops::kNoLimit);
  m.def(
      "adam_step",
      [](const Tensors& parameters, const Tensors& first_moments, const Tensors& second_moments,
         const std::optional<Tensors>& max_second_moments, double lr, double beta1, double beta2, double eps,
         double weight_decay, double l1, bool decoupled_weight_decay, bool amsgrad, bool maximize, std::int64_t step,
         double clip_value) {
        ops::adam_step(
            parameters, first_moments, second_moments, or_empty(max_second_moments),
            {lr, beta1, beta2, eps, weight_decay, l1, decoupled_weight_decay, amsgrad, maximize, step, clip_value});
      },
      py::arg("parameters"), py::arg("first_moments"), py::arg("second_moments"), py::arg("max_second_moments"),
      py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("l1"),
      py::arg("decoupled_weight_decay"), py::arg("amsgrad"), py::arg("maximize"), py::arg("step"),
      py::arg("clip_value") = ops::kNoLimit);
  m.def(
      "nadam_step",
      [](const Tensors& parameters, const Tensors& first_moments, const Tensors& second_moments, double lr,
         double beta1, double beta2, double eps, double weight_decay, double momentum_decay, double l1,
         bool decoupled_weight_decay, bool maximize, std::int64_t step, double mu_product, double clip_value) {
        ops::nadam_step(parameters, first_moments, second_moments,
                        {lr, beta1, beta2, eps, weight_decay, momentum_decay, l1, decoupled_weight_decay, maximize,
                         step, mu_product, clip_value});
      },
      py::arg("parameters"), py::arg("first_moments"), py::arg("second_moments"), py::arg("lr"), py::arg("beta1"),
      py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"), py::arg("momentum_decay"), py::arg("l1"),
      py::arg("decoupled_weight_decay"), py::arg("maximize"), py::arg("step"), py::arg("mu_product"),
      py::arg("clip_value") = ops::kNoLimit);
  m.def("clip_grad_norm_", &ops::clip_grad_norm_, written("parameters"), py::arg("max_norm"),
        py::arg("norm_type") = 2.0, py::arg("error_if_nonfinite") = false);
  m.def("clip_grad_value_", &ops::clip_grad_value_, written("parameters"), py::arg("clip_value"));
}

}  // namespace

void bind_ops(py::module_& m) {
  bind_layout(m);
  bind_creation(m);
  bind_binary(m);
  bind_unary(m);
  bind_reduce(m);
  bind_shape(m);
  bind_index(m);
  bind_layers(m);
  bind_losses(m);
  bind_optim(m);
}

}  // namespace nervure::bindings
