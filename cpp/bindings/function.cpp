// SPDX-License-Identifier: BSD-3-Clause
// nv.Function: a user's operation on NumPy arrays, on the same tape as everything else.
#include "bindings/bindings.h"
#include "core/tape.h"

namespace nervure::bindings {
namespace {

bool is_sequence(const py::handle& value) { return PyTuple_Check(value.ptr()) || PyList_Check(value.ptr()); }

constexpr int kContainers = 5;  // inside each other, that are searched for arrays

std::vector<Tensor> outputs_of(const py::object& result) {
  std::vector<Tensor> outputs;
  if (is_sequence(result)) {
    for (py::handle item : result) outputs.push_back(tensor_from_object(item).detach());
  } else {
    outputs.push_back(tensor_from_object(result).detach());
  }
  NV_CHECK(!outputs.empty(), "Function.forward", "must return an array or a non-empty tuple of arrays");
  for (const Tensor& y : outputs) core::check_dtype("Function.forward", "every output", y, DType::float32);
  return outputs;
}

py::object gradient_array(const core::Gradients& g, int i, const Shape& shape) {
  const py::array gradient = array_view(g.dy(i) ? g.dy(i) : ops::full(shape, 0.0, DType::float32));
  gradient.attr("setflags")(py::arg("write") = false);  // other branches of the graph may share its memory
  return gradient;
}

/// look_at(array) for an array, and for those in tuples, lists and the values of dicts, some levels deep.
template <class Look>
void for_arrays(const py::handle& value, int levels, const Look& look_at) {
  if (py::isinstance<py::array>(value)) return look_at(py::reinterpret_borrow<py::array>(value));
  if (levels == 0) return;
  if (is_sequence(value)) {
    for (const py::handle& item : py::reinterpret_borrow<py::sequence>(value)) for_arrays(item, levels - 1, look_at);
  } else if (PyDict_Check(value.ptr())) {
    for (const auto& [key, item] : py::reinterpret_borrow<py::dict>(value)) for_arrays(item, levels - 1, look_at);
  }
}

/// The inputs that forward() kept for backward(): those whose memory an array lies in that it saved, or set as an
/// attribute of the context, or put into a container there.
core::SavedList kept_inputs(const py::object& context, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> kept;
  const auto look_at = [&](const py::array& array) {
    const auto at = reinterpret_cast<std::uintptr_t>(array.data());
    for (const Tensor& x : inputs) {
      const core::Storage& storage = *x.body()->storage;
      const auto begin = reinterpret_cast<std::uintptr_t>(storage.data());
      if (at >= begin && at < begin + storage.bytes()) kept.push_back(x);
    }
  };
  for_arrays(py::dict(context.attr("__dict__")), kContainers, look_at);
  return core::saved_list(kept);
}

/// Hand one value of the user's backward() to input i of the node.
void set_gradient(core::Gradients& g, int i, const py::handle& value, const Shape& shape) {
  if (value.is_none() || !g.wants(i)) return;
  Tensor gradient = ops::cast(tensor_from_object(value), DType::float32);
  NV_CHECK(gradient.shape() == shape, "Function.backward", "gradient of input ", i, " must have shape ", shape,
           ", got ", gradient.shape());
  g.set(i, gradient.detach());
}

/// function(first, *rest), for threads that the interpreter may end meanwhile.
py::object call(const py::object& function, const py::object& first, const py::tuple& rest) {
  py::tuple arguments(rest.size() + 1);
  arguments[0] = first;
  for (std::size_t i = 0; i < rest.size(); ++i) arguments[i + 1] = rest[i];
  PyObject* const result = lock_or_stay([&] { return PyObject_CallObject(function.ptr(), arguments.ptr()); });
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

py::object apply_function(const py::object& type, const py::object& context, const py::args& args) {
  std::vector<Tensor> inputs;
  std::vector<Shape> input_shapes;
  std::vector<int> input_position;  // of each argument: its index among the tensors, or -1
  py::tuple arrays(args.size());
  for (std::size_t i = 0; i < args.size(); ++i) {
    const bool tensor_given = is_tensor(args[i]);
    input_position.push_back(tensor_given ? static_cast<int>(inputs.size()) : -1);
    if (tensor_given) {
      inputs.push_back(args[i].cast<Tensor>());
      input_shapes.push_back(inputs.back().shape());
      arrays[i] = array_view(inputs.back());
    } else {
      arrays[i] = args[i];
    }
  }
  py::object result;
  {
    core::NoGrad no_grad;
    result = call(type.attr("forward"), context, arrays);
  }
  const std::vector<Tensor> outputs = outputs_of(result);
  if (core::needs_grad(inputs)) {
    std::vector<Shape> output_shapes;
    for (const Tensor& y : outputs) output_shapes.push_back(y.shape());
    const SharedObject shared_type(type), shared_context(context);
    core::record("Function", outputs, inputs, kept_inputs(context, inputs), [=](core::Gradients& g) {
      const Locked locked;
      py::tuple dy(output_shapes.size());
      for (std::size_t i = 0; i < output_shapes.size(); ++i)
        dy[i] = gradient_array(g, static_cast<int>(i), output_shapes[i]);
      py::object dx = call(shared_type.get().attr("backward"), shared_context.get(), dy);
      if (!is_sequence(dx)) dx = py::make_tuple(dx);
      // One gradient for each argument of forward(), or one for each tensor among them.
      const std::size_t given = py::len(dx);
      NV_CHECK(given == input_position.size() || given == input_shapes.size(), "Function.backward", "must return ",
               input_position.size(), " gradients (one for each argument of forward), got ", given);
      int k = 0;
      for (py::handle value : dx) {
        const int i = given == input_position.size() ? input_position[static_cast<std::size_t>(k)] : k;
        if (i >= 0) set_gradient(g, i, value, input_shapes[static_cast<std::size_t>(i)]);
        ++k;
      }
    });
  }
  if (!is_sequence(result)) return py::cast(outputs[0]);
  py::tuple several(outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) several[i] = outputs[i];
  return several;
}

}  // namespace

SharedObject::SharedObject(py::object object) : object_(new py::object(std::move(object)), delete_locked<py::object>) {}

void bind_function(py::module_& m) {
  m.def("apply_function", &apply_function, py::arg("type"), py::arg("context"),
        "Run type.forward(context, *arrays) and record type.backward(context, *gradients).");
}

}  // namespace nervure::bindings
