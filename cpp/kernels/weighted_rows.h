// SPDX-License-Identifier: BSD-3-Clause
// Sums of rows with weights, for one query at a time.
#pragma once

#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// y = factor Σ_j weights[j] rows_j, for `count` rows `step` apart.
NV_INLINE void weighted_sum(const float* weights, const float* rows, std::int64_t step, std::int64_t count,
                            std::int64_t columns, float factor, float* y) {
  for_vectors(0, columns, [&](std::int64_t c, std::int64_t width) NV_INLINE_LAMBDA {
    vf sum[4] = {};
    const float* row = rows + c;
    std::int64_t j = 0;
    for (; j + 4 <= count; j += 4, row += 4 * step)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = fma(broadcast(weights[j + i]), load_some(row + i * step, width), sum[i]);
    for (; j < count; ++j, row += step) sum[0] = fma(broadcast(weights[j]), load_some(row, width), sum[0]);
    store_some(y + c, ((sum[0] + sum[1]) + (sum[2] + sum[3])) * factor, width);
  });
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
