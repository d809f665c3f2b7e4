// SPDX-License-Identifier: BSD-3-Clause
#include <cmath>

#include "bindings/bindings.h"
#include "core/launch.h"
#include "core/tape.h"

namespace nervure::bindings {
namespace {

using ops::Dims;
using Unary = Tensor (*)(const Tensor&);

void bind_arithmetic(TensorClass& cls) {
  cls.def("__invert__", &ops::logical_not);
  cls.def("__neg__", &ops::neg);
  cls.def("__pos__", [](const Tensor& x) { return x; });
  cls.def("__abs__", &ops::abs);
}

void bind_unary_methods(TensorClass& cls) {
  const std::pair<const char*, Unary> methods[] = {{"neg", ops::neg},
                                                   {"abs", ops::abs},
                                                   {"exp", ops::exp},
                                                   {"log", ops::log},
                                                   {"sqrt", ops::sqrt},
                                                   {"square", ops::square},
                                                   {"reciprocal", ops::reciprocal},
                                                   {"sin", ops::sin},
                                                   {"cos", ops::cos},
                                                   {"relu", ops::relu},
                                                   {"tanh", ops::tanh},
                                                   {"sigmoid", ops::sigmoid},
                                                   {"isnan", ops::isnan},
                                                   {"isfinite", ops::isfinite},
                                                   {"clone", ops::clone},
                                                   {"contiguous", ops::row_major}};
  for (const auto& [name, op] : methods) cls.def(name, op);
  cls.def("clip", &ops::clip, py::arg("min") = py::none(), py::arg("max") = py::none());
  cls.def("clamp", &ops::clip, py::arg("min") = py::none(), py::arg("max") = py::none());
  cls.def("pow", [](const Tensor& x, const py::object& e) { return ops::pow(x, operand(x, e)); }, py::arg("exponent"));
  cls.def("softmax", &ops::softmax, py::arg("dim"));
  cls.def("log_softmax", &ops::log_softmax, py::arg("dim"));
  cls.def("masked_fill", &ops::masked_fill, py::arg("mask"), py::arg("value"));
}

void bind_reductions(TensorClass& cls) {
  using Reduce = Tensor (*)(const Tensor&, const Dims&, bool);
  const std::pair<const char*, Reduce> methods[] = {
      {"sum", ops::sum}, {"mean", ops::mean}, {"amax", ops::amax}, {"amin", ops::amin}, {"logsumexp", ops::logsumexp},
      {"any", ops::any}, {"all", ops::all}};
  for (const auto& [name, op] : methods)
    cls.def(
        name, [op = op](const Tensor& x, const IntList& dim, bool keepdim) { return op(x, dim.values, keepdim); },
        py::arg("dim") = py::none(), py::arg("keepdim") = false);
  cls.def(
      "var",
      [](const Tensor& x, const IntList& dim, std::int64_t correction, bool keepdim) {
        return ops::var(x, dim.values, keepdim, correction);
      },
      py::arg("dim") = py::none(), py::arg("correction") = 1, py::arg("keepdim") = false);
  cls.def(
      "std",
      [](const Tensor& x, const IntList& dim, std::int64_t correction, bool keepdim) {
        return ops::standard_deviation(x, dim.values, keepdim, correction);
      },
      py::arg("dim") = py::none(), py::arg("correction") = 1, py::arg("keepdim") = false);
  using Extreme = std::tuple<Tensor, Tensor> (*)(const Tensor&, std::int64_t, bool);
  const std::tuple<const char*, Extreme, Reduce> extremes[] = {{"max", ops::max, ops::amax},
                                                               {"min", ops::min, ops::amin}};
  for (const auto& [name, with_indices, of_all] : extremes)
    cls.def(
        name,
        [=, with = with_indices, all = of_all](const Tensor& x, ops::OptionalDim dim, bool keepdim) -> py::object {
          return dim ? py::cast(with(x, *dim, keepdim)) : py::cast(all(x, {}, keepdim));
        },
        py::arg("dim") = py::none(), py::arg("keepdim") = false);
  cls.def("argmax", &ops::argmax, py::arg("dim") = py::none(), py::arg("keepdim") = false);
  cls.def("argmin", &ops::argmin, py::arg("dim") = py::none(), py::arg("keepdim") = false);
  cls.def(
      "norm",
      [](const Tensor& x, const py::object& p, const IntList& dim, bool keepdim) {
        const bool text = py::isinstance<py::str>(p);
        NV_CHECK(!text || p.cast<std::string>() == "fro", "norm", "p must be a number or \"fro\"");
        return ops::norm(x, text ? 2.0 : p.cast<double>(), dim.values, keepdim);
      },
      py::arg("p") = 2.0, py::arg("dim") = py::none(), py::arg("keepdim") = false);
  cls.def("prod", &ops::prod, py::arg("dim") = py::none(), py::arg("keepdim") = false);
  cls.def("cumsum", &ops::cumsum, py::arg("dim"));
  cls.def("topk", &ops::topk, py::arg("k"), py::arg("dim") = -1, py::arg("largest") = true, py::arg("sorted") = true);
}

/// Sizes given one by one or as one sequence: x.view(2, 3), x.view((2, 3)).
Dims sizes_of(const py::args& args) {
  if (args.size() == 1) return args[0].cast<IntList>().values;
  return py::list(args).cast<IntList>().values;
}

std::vector<Tensor> split(const Tensor& x, const py::object& sizes, std::int64_t dim) {
  if (PyList_Check(sizes.ptr()) || PyTuple_Check(sizes.ptr())) return ops::split(x, sizes.cast<IntList>().values, dim);
  const auto piece = sizes.cast<std::int64_t>();
  NV_CHECK(piece > 0, "split", "the size of a piece must be positive, got ", piece);
  const std::int64_t n = x.size(core::normalize_dim("split", dim, x.rank()));
  Dims pieces;
  for (std::int64_t at = 0; at < n || pieces.empty(); at += piece) pieces.push_back(std::min(piece, n - at));
  return ops::split(x, pieces, dim);
}

void bind_shape_methods(TensorClass& cls) {
  for (const char* name : {"reshape", "view"})
    cls.def(name, [](const Tensor& x, const py::args& shape) { return ops::reshape(x, sizes_of(shape)); });
  cls.def("permute", [](const Tensor& x, const py::args& dims) { return ops::permute(x, sizes_of(dims)); });
  cls.def("expand", [](const Tensor& x, const py::args& shape) { return ops::expand(x, sizes_of(shape)); });
  cls.def("flip", [](const Tensor& x, const py::args& dims) { return ops::flip(x, sizes_of(dims)); });
  cls.def("transpose", &ops::transpose, py::arg("dim0"), py::arg("dim1"));
  cls.def("squeeze", &ops::squeeze, py::arg("dim") = py::none());
  cls.def("unsqueeze", &ops::unsqueeze, py::arg("dim"));
  cls.def("flatten", &ops::flatten, py::arg("start_dim") = 0, py::arg("end_dim") = -1);
  cls.def("split", &split, py::arg("split_size_or_sections"), py::arg("dim") = 0);
  cls.def("chunk", &ops::chunk, py::arg("chunks"), py::arg("dim") = 0);
  cls.def("gather", &ops::gather, py::arg("dim"), py::arg("index"));
  cls.def("index_select", &ops::index_select, py::arg("dim"), py::arg("index"));
  cls.def(
      "to_order",
      [](const Tensor& x, const std::vector<int>& dims) { return ops::to_order(x, order_of(x.rank(), dims)); },
      py::arg("order"), "A copy (or x itself) whose memory order is this permutation, outermost dimension first.");
  cls.def_property_readonly("T", [](const Tensor& x) {
    NV_CHECK(x.rank() == 2, "T", "needs a matrix, got shape ", x.shape());
    return ops::transpose(x, 0, 1);
  });
  cls.def("__getitem__", [](const Tensor& x, const py::object& key) { return subscript(x, key); });
  cls.def("__len__", [](const Tensor& x) {
    NV_CHECK_TYPE(x.rank() > 0, "len", "a 0-d tensor has no length");
    return x.size(0);
  });
  cls.def("__iter__", [](const Tensor& x) {
    NV_CHECK_TYPE(x.rank() > 0, "iter", "a 0-d tensor cannot be iterated over");
    py::list rows;
    for (std::int64_t i = 0; i < x.size(0); ++i) rows.append(ops::select(x, 0, i));
    return py::iter(rows);
  });
}

py::object item(const Tensor& x) {
  NV_CHECK(x.numel() == 1, "item", "only a tensor of one element can become a number, got shape ", x.shape());
  if (x.dtype() == DType::int64) return py::int_(*x.i64());
  if (x.dtype() == DType::boolean) return py::bool_(*x.mask() != 0);
  return py::float_(static_cast<double>(*x.f32()));
}

py::tuple shape_tuple(const Shape& shape) {
  py::tuple sizes(shape.rank());
  for (int i = 0; i < shape.rank(); ++i) sizes[i] = shape[i];
  return sizes;
}

std::string represent(const Tensor& x) {
  const py::object text = py::module_::import("numpy").attr("array2string")(
      array_view(x), py::arg("separator") = ", ", py::arg("precision") = 4, py::arg("prefix") = "tensor(");
  std::string result = "tensor(" + text.cast<std::string>();
  if (x.dtype() != DType::float32) result += std::string(", dtype=") + core::dtype_name(x.dtype());
  if (x.body()->node)
    result += std::string(", from=") + x.body()->node->name;
  else if (x.requires_grad())
    result += ", requires_grad=True";
  return result + ")";
}

void bind_numpy_methods(TensorClass& cls) {
  cls.def("numpy", &array_view, "An array that shares this tensor's memory.");
  cls.def(
      "__array__",
      [](const Tensor& x, const py::object& dtype, const py::object& copy) -> py::object {
        const py::array view = array_view(x);
        if (dtype.is_none() && (copy.is_none() || !copy.cast<bool>())) return view;
        const bool may_copy = copy.is_none() || copy.cast<bool>();
        const bool must_copy = !copy.is_none() && copy.cast<bool>();
        const bool same = dtype.is_none() || py::dtype::from_args(dtype).equal(view.dtype());
        NV_CHECK(may_copy || same, "__array__", "a conversion to another dtype needs a copy");
        if (same && !must_copy) return view;
        return view.attr("astype")(same ? py::object(view.dtype()) : dtype);
      },
      py::arg("dtype") = py::none(), py::arg("copy") = py::none());
  cls.def("__dlpack__",
          [](const Tensor& x, const py::kwargs& options) { return array_view(x).attr("__dlpack__")(**options); });
  cls.def("__dlpack_device__", [](const Tensor&) { return py::make_tuple(1, 0); });
  cls.def("tolist", [](const Tensor& x) -> py::object {
    if (x.rank() != 1 || x.dtype() != DType::int64) return array_view(x).attr("tolist")();
    py::list numbers(static_cast<std::size_t>(x.size(0)));  // tokens, at every step of decoding: a tenth of the time
    for (std::int64_t i = 0; i < x.size(0); ++i) numbers[static_cast<std::size_t>(i)] = py::int_(x.i64()[i]);
    return numbers;
  });
  cls.def("item", &item);
  cls.def("__float__", [](const Tensor& x) { return item(x).attr("__float__")(); });
  cls.def("__int__", [](const Tensor& x) { return py::int_(item(x)); });
  // 0-d only, as of NumPy's arrays: NumPy would otherwise take a list of one index for that index.
  cls.def("__index__", [](const Tensor& x) {
    if (x.rank() != 0 || x.dtype() != DType::int64)
      throw core::TypeError(
          core::message("index", "only a 0-d int64 tensor is an integer, got ", x.dtype(), " of shape ", x.shape()));
    return py::int_(item(x));
  });
  cls.def("__bool__", [](const Tensor& x) {
    NV_CHECK(x.numel() == 1, "bool", "the truth of a tensor of shape ", x.shape(), " is ambiguous");
    return item(x).cast<bool>();
  });
  cls.def("__repr__", &represent);
  cls.def("__format__", [](const Tensor& x, const std::string& format) -> py::object {
    return x.rank() == 0 ? item(x).attr("__format__")(format) : py::str(represent(x)).attr("__format__")(format);
  });
  // Copies carry values, memory order and requires_grad; not the tape.
  cls.def("__deepcopy__", [](const Tensor& x, const py::dict&) {
    const Tensor copy = ops::clone(x.detach());
    if (x.is_leaf()) copy.set_requires_grad(x.requires_grad());
    return copy;
  });
}

void bind_gradient_methods(TensorClass& cls) {
  cls.def(
      "backward",
      [](const Tensor& y, const std::optional<Tensor>& gradient, bool retain_graph) {
        const core::Unlocked unlocked(core::kAlwaysUnlock);
        core::backward(y, gradient.value_or(Tensor()), retain_graph);
      },
      py::arg("gradient") = py::none(), py::arg("retain_graph") = false);
  cls.def("detach", &Tensor::detach);
  cls.def_property(
      "grad", [](const Tensor& x) -> py::object { return py::cast(x.grad()); },
      [](const Tensor& x, const std::optional<Tensor>& grad) {
        if (!grad) return x.set_grad(Tensor());
        core::check_dtype("grad", "gradient", *grad, DType::float32);
        NV_CHECK(grad->shape() == x.shape(), "grad", "gradient must have the tensor's shape ", x.shape(), ", got ",
                 grad->shape());
        x.set_grad(grad->detach());
      });
  cls.def_property("requires_grad", &Tensor::requires_grad, &Tensor::set_requires_grad);
  cls.def(
      "requires_grad_",
      [](const Self& x, bool value) {
        x.tensor().set_requires_grad(value);
        return x;
      },
      py::arg("requires_grad") = true);
  cls.def_property_readonly("is_leaf", &Tensor::is_leaf);
  cls.def_property_readonly(
      "_version", [](const Tensor& x) { return x.body()->storage->version(); },
      "How often operations have written into this memory in place; views share it. Writes through NumPy do not "
      "count.");
}

void bind_in_place_methods(TensorClass& cls) {
  const auto def = [&](const char* name, auto function, auto... args) { cls.def(name, function, args...); };
  def(
      "copy_",
      [](const Self& x, const py::object& source) {
        ops::copy_(x.tensor(), tensor_from_object(source));
        return x;
      },
      py::arg("source"));
  def(
      "fill_",
      [](const Self& x, const ops::Number& value) {
        ops::fill_(x.tensor(), value);
        return x;
      },
      py::arg("value"));
  def("zero_", [](const Self& x) {
    ops::fill_(x.tensor(), 0.0);
    return x;
  });
  def(
      "uniform_",
      [](const Self& x, double low, double high) {
        ops::uniform_(x.tensor(), low, high);
        return x;
      },
      py::arg("low") = 0.0, py::arg("high") = 1.0);
  def(
      "normal_",
      [](const Self& x, double mean, double std) {
        ops::normal_(x.tensor(), mean, std);
        return x;
      },
      py::arg("mean") = 0.0, py::arg("std") = 1.0);
  def(
      "trunc_normal_",
      [](const Self& x, double mean, double std, double a, double b) {
        ops::trunc_normal_(x.tensor(), mean, std, a, b);
        return x;
      },
      py::arg("mean") = 0.0, py::arg("std") = 1.0, py::arg("a") = -2.0, py::arg("b") = 2.0);
  def(
      "bernoulli_",
      [](const Self& x, double p) {
        ops::bernoulli_(x.tensor(), p);
        return x;
      },
      py::arg("p") = 0.5);
}

void bind_properties(TensorClass& cls) {
  cls.def_property_readonly("shape", [](const Tensor& x) { return shape_tuple(x.shape()); });
  cls.def_property_readonly("dtype", &Tensor::dtype);
  cls.def_property_readonly("ndim", &Tensor::rank);
  cls.def("dim", &Tensor::rank);
  cls.def("numel", &Tensor::numel);
  cls.def(
      "size",
      [](const Tensor& x, ops::OptionalDim dim) -> py::object {
        if (!dim) return shape_tuple(x.shape());
        NV_CHECK_INDEX(x.rank() > 0, "size", "a 0-d tensor has no dimensions");
        return py::int_(x.size(core::normalize_dim("size", *dim, x.rank())));
      },
      py::arg("dim") = py::none());
  cls.def_property_readonly(
      "order",
      [](const Tensor& x) {
        py::tuple dims(x.rank());
        for (int i = 0; i < x.rank(); ++i) dims[i] = x.order()[i];
        return dims;
      },
      "Memory order: the dimensions, outermost first.");
  cls.def("is_contiguous", &Tensor::is_row_major);
  cls.def("float", [](const Tensor& x) { return ops::cast(x, DType::float32); });
  cls.def("long", [](const Tensor& x) { return ops::cast(x, DType::int64); });
  cls.def("bool", [](const Tensor& x) { return ops::cast(x, DType::boolean); });
  cls.def("to", &ops::cast, py::arg("dtype"));
}

}  // namespace

Tensor operand(const Tensor& like, const py::handle& value) {
  if (PyFloat_Check(value.ptr())) return Tensor::scalar(static_cast<float>(PyFloat_AS_DOUBLE(value.ptr())));
  if (PyBool_Check(value.ptr())) return ops::full(Shape{}, value.cast<bool>(), DType::boolean);
  if (PyLong_Check(value.ptr())) {
    if (like.dtype() == DType::int64) {
      const Tensor integer = Tensor::empty(Shape{}, DType::int64);
      *integer.i64_out() = value.cast<std::int64_t>();
      return integer;
    }
    return Tensor::scalar(static_cast<float>(value.cast<double>()));
  }
  return tensor_from_object(value);
}

bool is_operand(const py::handle& value) {
  return is_tensor(value) || PyFloat_Check(value.ptr()) || PyLong_Check(value.ptr()) ||
         py::isinstance<py::array>(value) || PyObject_HasAttrString(value.ptr(), "__float__");
}

core::Order order_of(int rank, const std::vector<int>& dims) {
  core::Order order = core::Order::row_major(rank);
  std::uint32_t seen = 0;
  bool valid = static_cast<int>(dims.size()) == rank;
  for (int i = 0; valid && i < rank; ++i) {
    const int dim = dims[static_cast<std::size_t>(i)];
    valid = dim >= 0 && dim < rank && !(seen >> dim & 1);
    if (!valid) break;
    seen |= 1u << dim;
    order[i] = dim;
  }
  NV_CHECK(valid, "to_order", "order must be a permutation of the ", rank, " dimensions");
  return order;
}

void bind_tensor(py::module_& m) {
  py::enum_<DType>(m, "dtype", "Type of a tensor's elements.")
      .value("float32", DType::float32)
      .value("int64", DType::int64)
      .value("bool", DType::boolean);

  TensorClass cls(m);
  bind_properties(cls);
  bind_arithmetic(cls);
  bind_unary_methods(cls);
  bind_reductions(cls);
  bind_shape_methods(cls);
  bind_numpy_methods(cls);
  bind_gradient_methods(cls);
  bind_in_place_methods(cls);

  m.def(
      "writes_into", [](const Tensor& x) { core::writes_into(x); }, py::arg("x"),
      "Count a change in place that the caller makes through NumPy, where no operation sees it.");
  m.def("from_numpy", [](const py::array& array) { return tensor_over_array("from_numpy", array); }, py::arg("array"));
  m.def(
      "tensor",
      [](const py::object& data, std::optional<DType> dtype, bool requires_grad) {
        Tensor t;
        if (is_tensor(data)) {
          t = ops::clone(data.cast<Tensor>().detach());
          if (dtype) t = ops::cast(t, *dtype);
        } else {
          const py::array array(data);
          t = dtype ? tensor_from_array(array, *dtype) : tensor_from_array(array);
        }
        if (requires_grad) t.set_requires_grad(true);
        return t;
      },
      py::arg("data"), py::arg("dtype") = py::none(), py::arg("requires_grad") = false);
}

}  // namespace nervure::bindings
