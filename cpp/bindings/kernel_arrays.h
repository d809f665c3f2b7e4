// SPDX-License-Identifier: BSD-3-Clause
// Checks of the arrays that bare kernels are given. `op` and `what` (the parameter's name) are for the message.
#pragma once

#include "bindings/bindings.h"

namespace nervure::bindings {

std::string shape_text(const py::array& array);

void check_float32(const char* op, const char* what, const py::array& array);
void check_c_contiguous(const char* op, const char* what, const py::array& array);
void check_aligned(const char* op, const char* what, const py::array& array);
void check_shape(const char* op, const char* what, const py::array& array, const std::vector<py::ssize_t>& expected);
void check_same_shape(const char* op, const char* what, const py::array& array, const py::array& like);

/// The data of a C-contiguous, aligned float32 array; of a writeable one.
const float* input(const char* op, const char* what, const py::array& array);
float* output(const char* op, const char* what, py::array& array);

/// Whether the memory from the first to the last element of one array reaches into that of the other.
bool overlap(const py::array& a, const py::array& b);
/// Throws std::invalid_argument when a written array overlaps another one ...
void check_apart(const char* op, const char* what, const py::array& written, const char* other_what,
                 const py::array& other);
/// ... unless it is exactly the same memory, for kernels that work in place.
void check_same_or_apart(const char* op, const char* what, const py::array& written, const char* other_what,
                         const py::array& other);

}  // namespace nervure::bindings
