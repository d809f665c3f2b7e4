// SPDX-License-Identifier: BSD-3-Clause
// What the random ops share with dropout. Not part of the catalogue.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace nervure::ops {

/// Reserve `count` numbers of the generator: {seed, offset} as an int64 tensor, because kernels read what changes from
/// step to step through a pointer (core/launch.h).
core::Tensor random_stream(std::int64_t count);

/// The 32-bit number below which a share `probability` of all lies; 0 < probability < 1.
std::uint32_t probability_threshold(double probability);

}  // namespace nervure::ops
