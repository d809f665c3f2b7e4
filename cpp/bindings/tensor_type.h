// SPDX-License-Identifier: BSD-3-Clause
// The Python type of tensors. A plain extension type that holds the handle in place: py::class_ adds about 300 ns of
// book-keeping to every new object, more than a small operation itself.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <utility>

#include "core/tensor.h"

namespace nervure::bindings {

namespace py = pybind11;
using core::Tensor;

struct TensorObject {
  PyObject_HEAD Tensor tensor;
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(const py::handle& object) {
  return Py_TYPE(object.ptr()) == tensor_type || PyObject_TypeCheck(object.ptr(), tensor_type);
}
inline Tensor& tensor_of(const py::handle& object) { return reinterpret_cast<TensorObject*>(object.ptr())->tensor; }
/// A new Python object for the tensor; None when it is undefined. A new reference; throws when out of memory.
PyObject* wrap_tensor(Tensor tensor);
/// A tensor with a copy of the array's values: floats become float32, integers int64 (uint8: float32), bool stays.
Tensor tensor_from_array(const py::array& array);

/// The object that a method was called on, for methods that return it: x.fill_(0.0) is x, also for a subclass.
struct Self {
  py::object object;
  const Tensor& tensor() const { return tensor_of(object); }
};

/// pybind11 passes the object of a member function as a pointer, which the caster below does not give.
template <class Result, class... Args>
auto as_function(Result (Tensor::*method)(Args...) const) {
  return [method](const Tensor& x, Args... args) -> Result { return (x.*method)(args...); };
}
template <class Function>
Function as_function(Function function) {
  return function;
}

/// Adds methods to the type in the way py::class_ does.
class TensorClass {
 public:
  explicit TensorClass(py::module_& m);

  template <class Function, class... Extra>
  TensorClass& def(const char* name, Function function, const Extra&... extra) {
    const py::cpp_function method(as_function(function), py::name(name), py::is_method(type_),
                                  py::sibling(py::getattr(type_, name, py::none())), extra...);
    type_.attr(name) = method;
    return *this;
  }

  template <class Getter>
  TensorClass& def_property_readonly(const char* name, Getter getter, const char* doc = "") {
    return set_property(name, py::cpp_function(as_function(getter), py::is_method(type_)), py::none(), doc);
  }

  template <class Getter, class Setter>
  TensorClass& def_property(const char* name, Getter getter, Setter setter, const char* doc = "") {
    return set_property(name, py::cpp_function(as_function(getter), py::is_method(type_)),
                        py::cpp_function(as_function(setter), py::is_method(type_)), doc);
  }

 private:
  TensorClass& set_property(const char* name, const py::object& getter, const py::object& setter, const char* doc);
  py::object type_;
};

}  // namespace nervure::bindings

namespace pybind11::detail {

template <>
struct type_caster<nervure::core::Tensor> {
  using Tensor = nervure::core::Tensor;
  static constexpr auto name = const_name("nervure.Tensor");
  template <class>
  using cast_op_type = const Tensor&;

  bool load(handle source, bool convert) {
    if (nervure::bindings::is_tensor(source)) {
      tensor_ = &nervure::bindings::tensor_of(source);
      return tensor_->defined();  // not when __init__ was never called
    }
    if (!convert || !isinstance<array>(source)) return false;
    converted_ = nervure::bindings::tensor_from_array(reinterpret_borrow<array>(source));
    tensor_ = &converted_;
    return true;
  }
  operator const Tensor&() const { return *tensor_; }
  static handle cast(Tensor tensor, return_value_policy, handle) {
    return nervure::bindings::wrap_tensor(std::move(tensor));
  }

 private:
  const Tensor* tensor_ = nullptr;
  Tensor converted_;
};

template <>
struct type_caster<nervure::bindings::Self> {
  PYBIND11_TYPE_CASTER(nervure::bindings::Self, const_name("nervure.Tensor"));

  bool load(handle source, bool) {
    if (!nervure::bindings::is_tensor(source) || !nervure::bindings::tensor_of(source).defined()) return false;
    value.object = reinterpret_borrow<object>(source);
    return true;
  }
  static handle cast(const nervure::bindings::Self& self, return_value_policy, handle) {
    return handle(self.object).inc_ref();
  }
};

}  // namespace pybind11::detail
