// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/tensor_type.h"

#include "bindings/bindings.h"

namespace nervure::bindings {

PyTypeObject* tensor_type = nullptr;

namespace {

PyObject* new_object(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self) new (&tensor_of(self)) Tensor;
  return self;
}

/// Not a method added by def(): pybind11 takes any __init__ for the constructor of one of its own classes.
int init_object(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* const names[] = {"data", "requires_grad", nullptr};
  PyObject* data = nullptr;
  int requires_grad = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:Tensor", const_cast<char**>(names), &data, &requires_grad))
    return -1;
  try {
    if (is_tensor(data) && !tensor_of(data)) throw core::TypeError("[Tensor] data is not initialised");
    const Tensor t = is_tensor(data) ? tensor_of(data).detach() : tensor_from_object(data);
    if (requires_grad) t.set_requires_grad(true);
    tensor_of(self) = t;
    return 0;
  } catch (...) {
    py::detail::try_translate_exceptions();
    return -1;
  }
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  tensor_of(self).~Tensor();
  type->tp_free(self);
  Py_DECREF(type);
}

using Binary = Tensor (*)(const Tensor&, const Tensor&);

/// The number protocol, without pybind11's dispatch: `a + b` on small tensors is bound by the call.
template <Binary op>
PyObject* binary_slot(PyObject* a, PyObject* b) {
  try {
    const bool has_a = is_tensor(a), has_b = is_tensor(b);
    if ((has_a && !tensor_of(a)) || (has_b && !tensor_of(b))) throw core::TypeError("[tensor] not initialised");
    if (has_a && has_b) return wrap_tensor(op(tensor_of(a), tensor_of(b)));
    if (has_a && is_operand(b)) return wrap_tensor(op(tensor_of(a), operand(tensor_of(a), b)));
    if (has_b && is_operand(a)) return wrap_tensor(op(operand(tensor_of(b), a), tensor_of(b)));
    Py_RETURN_NOTIMPLEMENTED;
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

PyObject* power_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return binary_slot<ops::pow>(a, b);
}

PyObject* compare_slot(PyObject* a, PyObject* b, int comparison) {
  switch (comparison) {
    case Py_LT:
      return binary_slot<ops::lt>(a, b);
    case Py_LE:
      return binary_slot<ops::le>(a, b);
    case Py_EQ:
      return binary_slot<ops::eq>(a, b);
    case Py_NE:
      return binary_slot<ops::ne>(a, b);
    case Py_GT:
      return binary_slot<ops::gt>(a, b);
    default:
      return binary_slot<ops::ge>(a, b);
  }
}

Py_hash_t hash_slot(PyObject* self) {
  return static_cast<Py_hash_t>(std::hash<const void*>()(tensor_of(self).body().get()) >> 4);
}

template <class T>
void* slot(T function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

PyObject* wrap_tensor(Tensor tensor) {
  if (!tensor) Py_RETURN_NONE;
  PyObject* self = tensor_type->tp_alloc(tensor_type, 0);
  if (!self) throw py::error_already_set();
  new (&tensor_of(self)) Tensor(std::move(tensor));
  return self;
}

TensorClass::TensorClass(py::module_& m) {
  PyType_Slot slots[] = {{Py_tp_new, slot(&new_object)},
                         {Py_tp_init, slot(&init_object)},
                         {Py_tp_dealloc, slot(&dealloc)},
                         {Py_tp_hash, slot(&hash_slot)},
                         {Py_tp_richcompare, slot(&compare_slot)},
                         {Py_nb_add, slot(&binary_slot<ops::add>)},
                         {Py_nb_subtract, slot(&binary_slot<ops::sub>)},
                         {Py_nb_multiply, slot(&binary_slot<ops::mul>)},
                         {Py_nb_true_divide, slot(&binary_slot<ops::div>)},
                         {Py_nb_matrix_multiply, slot(&binary_slot<ops::matmul>)},
                         {Py_nb_power, slot(&power_slot)},
                         {Py_nb_and, slot(&binary_slot<ops::logical_and>)},
                         {Py_nb_or, slot(&binary_slot<ops::logical_or>)},
                         {Py_tp_doc, const_cast<char*>("A dense array with a gradient; see nervure.tensor().")},
                         {0, nullptr}};
  PyType_Spec spec = {"nervure._core.Tensor", sizeof(TensorObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  type_ = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type_) throw py::error_already_set();
  tensor_type = reinterpret_cast<PyTypeObject*>(type_.ptr());
  Py_INCREF(tensor_type);  // for as long as the process runs
  m.attr("Tensor") = type_;
}

TensorClass& TensorClass::set_property(const char* name, const py::object& getter, const py::object& setter,
                                       const char* doc) {
  const py::object property = py::module_::import("builtins").attr("property");
  type_.attr(name) = property(getter, setter, py::none(), doc);
  return *this;
}

}  // namespace nervure::bindings
