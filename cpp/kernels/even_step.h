// SPDX-License-Identifier: BSD-3-Clause
// How lengths are cut into pieces that are all alike but the last.
#pragma once

#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// A step that cuts n into `pieces` or fewer, a multiple of `unit`.
NV_INLINE std::int64_t even_step(std::int64_t n, std::int64_t pieces, std::int64_t unit) {
  return larger(ceil_div(ceil_div(n, larger(pieces, 1)), unit) * unit, unit);
}

/// A step of at most `most`, rounded up to a multiple of `unit`, that cuts n into as few pieces as that allows.
NV_INLINE std::int64_t even_step_within(std::int64_t n, std::int64_t most, std::int64_t unit) {
  return even_step(n, ceil_div(n, most), unit);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
