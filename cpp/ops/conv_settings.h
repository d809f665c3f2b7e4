// SPDX-License-Identifier: BSD-3-Clause
// Which algorithm convolutions use. Not part of the catalogue.
#pragma once

#include <string>

#include "kernels/conv.h"

namespace nervure::ops {

/// "auto", "im2col", "direct" or "winograd"; throws std::invalid_argument otherwise.
void set_conv_algorithm(const std::string& algorithm);
std::string get_conv_algorithm();
/// "accurate" or "fast"; throws std::invalid_argument otherwise.
void set_conv_accuracy(const std::string& accuracy);
std::string get_conv_accuracy();

/// The settings in force.
kernels::ConvOptions conv_options();

}  // namespace nervure::ops
