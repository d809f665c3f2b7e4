// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "kernels/loops.h"

namespace nervure::kernels {

enum class Compare : int { eq, ne, lt, le, gt, ge, logical_and, logical_or };

/// y = a op b as 0 or 1, over loops; a and b of one type (boolean: bytes 0 or 1; logical ops on these only).
NV_KERNEL(compare_forward, Compare op, Element type, const void* a, const void* b, std::uint8_t* y, const Loops& loops);
/// y = condition ? a : b over loops; a, b and y of one type.
NV_KERNEL(where_forward, Element type, const std::uint8_t* condition, const void* a, const void* b, void* y,
          const Loops& loops);
/// y[i] = !x[i].
NV_KERNEL(logical_not_forward, const std::uint8_t* x, std::uint8_t* y, std::int64_t n);

enum class FloatTest : int { isnan, isfinite };
/// y[i] = test(x[i]).
NV_KERNEL(float_test_forward, FloatTest test, const float* x, std::uint8_t* y, std::int64_t n);

}  // namespace nervure::kernels
