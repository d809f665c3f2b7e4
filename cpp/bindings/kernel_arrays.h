// SPDX-License-Identifier: BSD-3-Clause
// Checks of the arrays that bare kernels are given. `op` and `what` (the parameter's name) are for the message.
#pragma once

#include "bindings/bindings.h"

namespace nervure::bindings {

std::string shape_text(const py::array& array);

void check_float32(const char* op, const char* what, const py::array& array);
void check_c_contiguous(const char* op, const char* what, const py::array& array);
void check_shape(const char* op, const char* what, const py::array& array, const std::vector<py::ssize_t>& expected);
void check_same_shape(const char* op, const char* what, const py::array& array, const py::array& like);

/// The data of a C-contiguous float32 array; of a writeable one.
const float* input(const char* op, const char* what, const py::array& array);
float* output(const char* op, const char* what, py::array& array);

/// Whether two arrays share bytes (both C-contiguous).
bool overlap(const py::array& a, const py::array& b);

}  // namespace nervure::bindings
