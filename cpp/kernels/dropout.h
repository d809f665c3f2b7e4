// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// y[i] = x[i] * scale where number i of the stream is at least `threshold`, else 0. The backward is the same kernel
/// over dy: the mask is drawn again, not stored. `stream` points to {seed, offset} (core/rng.h); y may be x.
NV_KERNEL(dropout, const std::int64_t* stream, std::uint32_t threshold, float scale, const float* x, float* y,
          std::int64_t n);

}  // namespace nervure::kernels
