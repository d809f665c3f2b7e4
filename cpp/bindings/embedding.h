// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <pybind11/pybind11.h>

namespace nervure::bindings {

void bind_embedding(pybind11::module_& m);

}  // namespace nervure::bindings
