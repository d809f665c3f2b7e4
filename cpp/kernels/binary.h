// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/loops.h"

namespace nervure::kernels {

enum class Binary : int { add, sub, mul, div, pow, maximum, minimum };

/// y[i] = a[i] op b[i]; y may be a or b. maximum and minimum give NaN when either is NaN.
NV_KERNEL(binary_flat, Binary op, const float* a, const float* b, float* y, std::int64_t n);
/// The same over loops; y must not overlap the inputs unless their loops are dense.
NV_KERNEL(binary_forward, Binary op, const float* a, const float* b, float* y, const Loops& loops);

enum class Ternary : int {
  div_backward,           // (dy, a, b): gradient of b in a / b
  pow_backward_base,      // (dy, base, exponent)
  pow_backward_exponent,  // (dy, base, exponent)
  maximum_backward,       // (dy, a, b): gradient of a; half of it in a tie
  minimum_backward        // the same
};
/// y = op(a, b, c) over loops.
NV_KERNEL(ternary_forward, Ternary op, const float* a, const float* b, const float* c, float* y, const Loops& loops);

}  // namespace nervure::kernels
