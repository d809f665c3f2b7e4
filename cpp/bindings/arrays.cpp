// SPDX-License-Identifier: BSD-3-Clause
// The border between NumPy arrays and tensors.
#include <cstring>

#include "bindings/bindings.h"

namespace nervure::bindings {
namespace {

const char* numpy_name(DType dtype) {
  return dtype == DType::float32 ? "float32" : dtype == DType::int64 ? "int64" : "bool";
}

DType natural_dtype(const py::array& array) {
  switch (array.dtype().kind()) {
    case 'f': return DType::float32;
    case 'b': return DType::boolean;
    case 'i': return DType::int64;
    // Bytes are pixels; wider unsigned integers are indices.
    case 'u': return array.itemsize() == 1 ? DType::float32 : DType::int64;
    default: break;
  }
  throw core::TypeError(core::message("tensor", "expected numbers or booleans, got an array of dtype ",
                                      py::str(array.dtype()).cast<std::string>()));
}

}  // namespace

Tensor tensor_from_array(const py::array& array, DType dtype) {
  natural_dtype(array);  // refuses text, objects, complex numbers
  NV_CHECK(array.ndim() <= core::kMaxRank, "tensor", "at most ", core::kMaxRank, " dimensions are supported, got ",
           array.ndim());
  Shape shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.append(array.shape(i));
  const Tensor t = Tensor::empty(shape, dtype);
  // NumPy copies and converts, from any strides and dtype, straight into the tensor's memory.
  array_view(t)[py::ellipsis()] = array;
  return t;
}

Tensor tensor_from_array(const py::array& array) { return tensor_from_array(array, natural_dtype(array)); }

Tensor tensor_from_object(const py::handle& object) {
  if (is_tensor(object)) return object.cast<Tensor>();
  const py::array array = py::array::ensure(object);
  if (!array) throw py::error_already_set();
  return tensor_from_array(array);
}

py::array array_view(const Tensor& tensor) {
  const Shape strides = tensor.strides();
  const auto item = static_cast<py::ssize_t>(core::item_size(tensor.dtype()));
  std::vector<py::ssize_t> shape_in_bytes, strides_in_bytes;
  for (int i = 0; i < tensor.rank(); ++i) {
    shape_in_bytes.push_back(tensor.size(i));
    strides_in_bytes.push_back(strides[i] * item);
  }
  // The array keeps the storage alive, not the tensor or its tape.
  using Owner = core::Ref<core::Storage>;
  const py::capsule owner(new Owner(tensor.body()->storage), [](void* p) { delete static_cast<Owner*>(p); });
  return py::array(py::dtype(numpy_name(tensor.dtype())), shape_in_bytes, strides_in_bytes, tensor.data(), owner);
}

}  // namespace nervure::bindings
