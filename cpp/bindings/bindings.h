// SPDX-License-Identifier: BSD-3-Clause
// What the binding files share: conversions between Python's arguments and the core's types.
#pragma once

#include <cxxabi.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/tensor_type.h"
#include "ops/ops.h"

namespace nervure::bindings {

using core::DType;
using core::Shape;

/// None, an int, or a sequence of ints: the dimensions of a reduction, the sizes of a shape.
struct IntList {
  std::vector<std::int64_t> values;
};

Tensor tensor_from_array(const py::array& array, DType dtype);
/// Whether every element lies at a multiple of its size, as the kernels expect.
bool is_aligned(const py::array& array);
/// A tensor that shares the memory of a dense, aligned, writeable float32, int64 or boolean array.
Tensor tensor_over_array(const char* op, const py::array& array);
/// Anything NumPy can turn into an array, or a tensor as it is.
Tensor tensor_from_object(const py::handle& object);
/// A view: shares the tensor's memory, strided as its memory order says.
py::array array_view(const Tensor& tensor);
/// x[key]
Tensor subscript(const Tensor& x, const py::handle& key);

using OptionalTensor = std::optional<Tensor>;
/// What an operation expects where an argument is None.
inline Tensor or_undefined(const OptionalTensor& tensor) { return tensor.value_or(Tensor()); }

/// An argument that an operation writes into: a NumPy array would be copied, and the copy be written.
inline py::arg written(const char* name) { return py::arg(name).noconvert(); }

/// A memory order from a permutation of the dimensions, outermost first.
core::Order order_of(int rank, const std::vector<int>& dims);

/// A number or array as the other operand of `like`: an integer stays one beside integers.
Tensor operand(const Tensor& like, const py::handle& value);
/// Whether operand() takes it.
bool is_operand(const py::handle& value);

/// Takes the interpreter's lock by `take`. While the interpreter shuts down it ends every other thread that asks for
/// the lock, by unwinding its stack (before Python 3.14): through destructors, that would abort the process. Such a
/// thread stays here until the process ends.
template <class Take>
auto lock_or_stay(const Take& take) {
  try {
    return take();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

/// The interpreter's lock while it lives, on any thread.
class Locked {
 public:
  Locked();
  ~Locked() { PyGILState_Release(state_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  PyGILState_STATE state_;
};

/// Deletes a Python object from whichever thread drops it; not after the interpreter has gone.
template <class Object>
void delete_locked(Object* held) {
  if (!Py_IsInitialized()) return;
  const Locked locked;
  PyObject* const object = held->release().ptr();
  delete held;
  lock_or_stay([object] { Py_XDECREF(object); });  // may run Python code, which gives the lock up and takes it again
}

/// Releases what it holds with the interpreter's lock, whichever thread drops it.
class SharedObject {
 public:
  explicit SharedObject(py::object object);
  const py::object& get() const { return *object_; }

 private:
  std::shared_ptr<py::object> object_;
};

void bind_runtime(py::module_& m);      // runtime.cpp: threads, instruction sets, memory, random state
void bind_tensor(py::module_& m);       // tensor.cpp
void bind_ops(py::module_& m);          // ops.cpp
void bind_conv(py::module_& m);         // conv.cpp: convolutions, also on NumPy arrays
void bind_embedding(py::module_& m);    // embedding.cpp
void bind_attention(py::module_& m);    // attention.cpp
void bind_decoding(py::module_& m);     // decoding.cpp
void bind_pool(py::module_& m);         // pool.cpp: pooling, also on NumPy arrays
void bind_norm(py::module_& m);         // norm.cpp: normalisation, also on NumPy arrays
void bind_recurrent(py::module_& m);    // recurrent.cpp: also on NumPy arrays
void bind_update_list(py::module_& m);  // optim.cpp
void bind_function(py::module_& m);     // function.cpp
void bind_bench(py::module_& m);        // bench.cpp: the roofline
void bind_kernels(py::module_& m);      // kernels.cpp: the bare kernels on NumPy arrays

}  // namespace nervure::bindings

namespace pybind11::detail {

/// Whatever Python takes for an index: also NumPy's integers. pybind11 would cut NumPy's fractions off.
template <>
struct type_caster<std::int64_t> {
  PYBIND11_TYPE_CASTER(std::int64_t, const_name("int"));

  bool load(handle source, bool) {
    if (!source || !PyIndex_Check(source.ptr())) return false;
    const auto integer = reinterpret_steal<object>(PyNumber_Index(source.ptr()));
    value = integer ? PyLong_AsLongLong(integer.ptr()) : -1;
    if (!PyErr_Occurred()) return true;
    PyErr_Clear();  // not an integer after all (an array of several), or beyond 64 bits
    return false;
  }
  static handle cast(std::int64_t source, return_value_policy, handle) { return PyLong_FromLongLong(source); }
};

/// A number: an integer exactly, where 64 bits hold it.
template <>
struct type_caster<nervure::ops::Number> {
  PYBIND11_TYPE_CASTER(nervure::ops::Number, const_name("int | float"));

  bool load(handle source, bool convert) {
    make_caster<std::int64_t> integer;
    make_caster<double> real;
    if (integer.load(source, convert)) {
      value = cast_op<std::int64_t>(integer);
      return true;
    }
    if (!real.load(source, true)) return false;
    const double number = cast_op<double>(real);  // an integer below int64 must not be rounded to its smallest
    value = PyLong_Check(source.ptr()) && number == -0x1p63 ? std::nextafter(number, 2 * number) : number;
    return true;
  }
};

template <>
struct type_caster<nervure::bindings::IntList> {
  PYBIND11_TYPE_CASTER(nervure::bindings::IntList, const_name("int | collections.abc.Sequence[int] | None"));

  bool load(handle source, bool) {
    value.values.clear();
    if (source.is_none()) return true;
    if (append(source)) return true;
    if (!PyTuple_Check(source.ptr()) && !PyList_Check(source.ptr())) return false;
    for (handle item : reinterpret_borrow<sequence>(source))
      if (!append(item)) return false;
    return true;
  }

 private:
  bool append(handle item) {
    if (PyBool_Check(item.ptr()) || !PyIndex_Check(item.ptr())) return false;
    const auto integer = reinterpret_steal<object>(PyNumber_Index(item.ptr()));
    const std::int64_t number = integer ? PyLong_AsLongLong(integer.ptr()) : -1;
    if (PyErr_Occurred()) {
      if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw error_already_set();
      PyErr_Clear();  // beyond 64 bits: no such argument
      return false;
    }
    value.values.push_back(number);
    return true;
  }
};

}  // namespace pybind11::detail
