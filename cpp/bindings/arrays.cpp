// SPDX-License-Identifier: BSD-3-Clause
// The border between NumPy arrays and tensors.
#include <algorithm>

#include "bindings/bindings.h"

namespace nervure::bindings {
namespace {

const char* numpy_name(DType dtype) {
  return dtype == DType::float32 ? "float32" : dtype == DType::int64 ? "int64" : "bool";
}

DType natural_dtype(const py::array& array) {
  switch (array.dtype().kind()) {
    case 'f':
      return DType::float32;
    case 'b':
      return DType::boolean;
    case 'i':
      return DType::int64;
    // Bytes are pixels; wider unsigned integers are indices.
    case 'u':
      return array.itemsize() == 1 ? DType::float32 : DType::int64;
    default:
      break;
  }
  throw core::TypeError(core::message("tensor", "expected numbers or booleans, got an array of dtype ",
                                      py::str(array.dtype()).cast<std::string>()));
}

void check_fits_int64(const py::array& array) {
  if (array.dtype().kind() != 'u' || array.itemsize() < 8 || array.size() == 0) return;
  const py::object largest = array.attr("max")();
  if (largest.cast<std::uint64_t>() >> 63)
    throw core::TypeError(
        core::message("tensor", "expected integers that fit int64, got ", py::str(largest).cast<std::string>()));
}

/// The dtype under which an array's memory can be used as it is.
DType shared_dtype(const char* op, const py::array& array) {
  if (array.dtype().equal(py::dtype::of<float>())) return DType::float32;
  if (array.dtype().equal(py::dtype::of<std::int64_t>())) return DType::int64;
  if (array.dtype().equal(py::dtype::of<bool>())) return DType::boolean;
  throw core::TypeError(core::message(op, "the array must be float32, int64 or bool, in native byte order, got ",
                                      py::str(array.dtype()).cast<std::string>()));
}

/// The memory order of a dense array: its dimensions by falling stride.
core::Order dense_order(const char* op, const py::array& array, const Shape& shape) {
  std::vector<int> dims(static_cast<std::size_t>(array.ndim()));
  for (std::size_t i = 0; i < dims.size(); ++i) dims[i] = static_cast<int>(i);
  std::stable_sort(dims.begin(), dims.end(), [&](int a, int b) { return array.strides(a) > array.strides(b); });
  const core::Order order = order_of(shape.rank(), dims);
  const Shape strides = core::strides_of(shape, order);
  for (int i = 0; i < shape.rank(); ++i)
    NV_CHECK(shape.numel() == 0 || shape[i] <= 1 || array.strides(i) == strides[i] * array.itemsize(), op,
             "the array's elements must lie densely in memory, in some order of the dimensions");
  return order;
}

}  // namespace

bool is_aligned(const py::array& array) { return array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_; }

Tensor tensor_over_array(const char* op, const py::array& array) {
  NV_CHECK(array.writeable(), op, "the array is read-only; nervure.tensor() copies it");
  NV_CHECK(array.ndim() <= core::kMaxRank, op, "at most ", core::kMaxRank, " dimensions are supported");
  const DType dtype = shared_dtype(op, array);
  NV_CHECK(is_aligned(array), op,
           "the array's elements do not lie at multiples of their size; nervure.tensor() copies it");
  Shape shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.append(array.shape(i));
  const core::Order order = dense_order(op, array, shape);
  const auto drop = [](void* owner) { delete_locked(static_cast<py::array*>(owner)); };
  auto* owner = new py::array(array);
  return Tensor::over(
      core::Storage::borrow(const_cast<void*>(array.data()), static_cast<std::size_t>(array.nbytes()), drop, owner),
      shape, dtype, order);
}

Tensor tensor_from_array(const py::array& array, DType dtype) {
  natural_dtype(array);  // refuses text, objects, complex numbers
  if (dtype == DType::int64) check_fits_int64(array);
  NV_CHECK(array.ndim() <= core::kMaxRank, "tensor", "at most ", core::kMaxRank, " dimensions are supported, got ",
           array.ndim());
  Shape shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.append(array.shape(i));
  const Tensor t = Tensor::empty(shape, dtype);
  // NumPy copies and converts, from any strides and dtype, straight into the tensor's memory. It gives the
  // interpreter's lock up for that and takes it again.
  const py::array view = array_view(t);
  if (lock_or_stay([&] { return PyObject_SetItem(view.ptr(), Py_Ellipsis, array.ptr()); }) != 0)
    throw py::error_already_set();
  return t;
}

Tensor tensor_from_array(const py::array& array) { return tensor_from_array(array, natural_dtype(array)); }

Tensor tensor_from_object(const py::handle& object) {
  if (is_tensor(object)) return object.cast<Tensor>();
  return tensor_from_array(lock_or_stay([&] { return py::array(py::reinterpret_borrow<py::object>(object)); }));
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
