// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/kernel_arrays.h"

#include <algorithm>

namespace nervure::bindings {

std::string shape_text(const py::array& array) {
  Shape shape;
  for (py::ssize_t i = 0; i < std::min<py::ssize_t>(array.ndim(), core::kMaxRank); ++i) shape.append(array.shape(i));
  return shape.str();
}

void check_float32(const char* op, const char* what, const py::array& array) {
  NV_CHECK_TYPE(array.dtype().equal(py::dtype::of<float>()), op, what, " must be float32, got ",
                py::str(array.dtype()).cast<std::string>());
}

void check_c_contiguous(const char* op, const char* what, const py::array& array) {
  NV_CHECK(array.flags() & py::array::c_style, op, what, " must be C-contiguous; got shape ", shape_text(array),
           " with other strides");
}

const float* input(const char* op, const char* what, const py::array& array) {
  check_float32(op, what, array);
  check_c_contiguous(op, what, array);
  return static_cast<const float*>(array.data());
}

float* output(const char* op, const char* what, py::array& array) {
  check_float32(op, what, array);
  check_c_contiguous(op, what, array);
  NV_CHECK(array.writeable(), op, what, " is read-only");
  return static_cast<float*>(array.mutable_data());
}

void check_shape(const char* op, const char* what, const py::array& array, const std::vector<py::ssize_t>& expected) {
  const std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim());
  Shape wanted;
  for (py::ssize_t size : expected) wanted.append(size);
  NV_CHECK(shape == expected, op, what, " must have shape ", wanted, ", got ", shape_text(array));
}

void check_same_shape(const char* op, const char* what, const py::array& array, const py::array& like) {
  check_shape(op, what, array, std::vector<py::ssize_t>(like.shape(), like.shape() + like.ndim()));
}

bool overlap(const py::array& a, const py::array& b) {
  const auto *a_begin = static_cast<const char*>(a.data()), *b_begin = static_cast<const char*>(b.data());
  return a_begin < b_begin + b.nbytes() && b_begin < a_begin + a.nbytes() && a.nbytes() > 0 && b.nbytes() > 0;
}

}  // namespace nervure::bindings
