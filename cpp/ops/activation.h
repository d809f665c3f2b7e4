// SPDX-License-Identifier: BSD-3-Clause
// Names of fused activations. Not part of the catalogue.
#pragma once

#include <string>

#include "kernels/activation.h"

namespace nervure::ops {

/// "" is none; throws std::invalid_argument that lists the names.
kernels::Activation parse_activation(const char* op, const std::string& name);

}  // namespace nervure::ops
