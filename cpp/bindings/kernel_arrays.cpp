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

void check_aligned(const char* op, const char* what, const py::array& array) {
  NV_CHECK(is_aligned(array), op, what, " must be aligned: its elements do not lie at multiples of their size");
}

const float* input(const char* op, const char* what, const py::array& array) {
  check_float32(op, what, array);
  check_aligned(op, what, array);
  check_c_contiguous(op, what, array);
  return static_cast<const float*>(array.data());
}

float* output(const char* op, const char* what, py::array& array) {
  check_float32(op, what, array);
  check_aligned(op, what, array);
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

namespace {

/// The addresses an array spans, from its first byte to one past its last; strides may be negative.
struct Span {
  const char *begin, *end;
};

Span span_of(const py::array& array) {
  const auto* const data = static_cast<const char*>(array.data());
  if (array.size() == 0) return {data, data};
  Span span{data, data + array.itemsize()};
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    const py::ssize_t reach = (array.shape(i) - 1) * array.strides(i);
    (reach < 0 ? span.begin : span.end) += reach;
  }
  return span;
}

}  // namespace

bool overlap(const py::array& a, const py::array& b) {
  const Span in_a = span_of(a), in_b = span_of(b);
  return in_a.begin < in_b.end && in_b.begin < in_a.end && a.size() > 0 && b.size() > 0;
}

void check_apart(const char* op, const char* what, const py::array& written, const char* other_what,
                 const py::array& other) {
  NV_CHECK(!overlap(written, other), op, what, " must not share memory with ", other_what);
}

void check_same_or_apart(const char* op, const char* what, const py::array& written, const char* other_what,
                         const py::array& other) {
  NV_CHECK(written.data() == other.data() || !overlap(written, other), op, what, " must be the memory of ", other_what,
           " or share none with it; they overlap in part");
}

}  // namespace nervure::bindings
