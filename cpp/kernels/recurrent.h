// SPDX-License-Identifier: BSD-3-Clause
// What the recurrent layers share: batches whose rows end at different steps.
//
// Inside, the rows of a batch are numbered by falling length: those that still run at step t are 0 .. active[t] - 1,
// and the values of all steps lie one step after the other without gaps ("packed": `total` rows). Every product is then
// over exactly the rows that exist, and padding is never read.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// The steps of a batch. `steps` is the length of the longest row.
struct Sequence {
  std::int64_t batch, steps, total;
  const std::int64_t* active;  // (steps + 1): rows that run at step t, falling; the last is 0
  const std::int64_t* offset;  // (steps + 1): packed row of step t's first
  const std::int64_t* row;     // (batch): number in the caller's batch of the j-th longest row
  bool reverse;                // from each row's own end to its start
};

/// Floats between the rows of a matrix of gates: rows whose distance is a multiple of 1 KiB fall on a few sets of the
/// first-level cache and push each other out.
constexpr std::int64_t gate_stride(std::int64_t columns) { return columns % 256 == 0 ? columns + 16 : columns; }

/// Values (batch, step, feature) as the caller has them: data[b * row_step + t * time_step + i].
struct StepsIn {
  const float* data;  // null: zeros
  std::int64_t row_step, time_step;
};
struct StepsOut {
  float* data;
  std::int64_t row_step, time_step;
};

/// packed[offset[t] + j, i] = x(row[j], t, i), `width` features.
NV_KERNEL(gather_steps, const Sequence& sequence, const StepsIn& x, std::int64_t width, float* packed)
/// The inverse; x is 0 at steps past a row's end, of `all_steps`.
NV_KERNEL(scatter_steps, const Sequence& sequence, const float* packed, std::int64_t width, std::int64_t all_steps,
          const StepsOut& x)
/// Zeros at the steps past each row's end.
NV_KERNEL(clear_padding, const Sequence& sequence, std::int64_t width, std::int64_t all_steps, const StepsOut& x)

}  // namespace nervure::kernels
