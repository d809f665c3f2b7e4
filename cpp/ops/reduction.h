// SPDX-License-Identifier: BSD-3-Clause
// What the files of the losses share.
#pragma once

#include <string>

#include "ops/ops.h"

namespace nervure::ops {

enum class Reduction { none, mean, sum, batchmean };

/// Throws std::invalid_argument for anything but "none", "mean", "sum" (and "batchmean" where allowed).
Reduction parse_reduction(const char* op, const std::string& name, bool allow_batchmean = false);
Tensor as_float(const Tensor& x);

}  // namespace nervure::ops
