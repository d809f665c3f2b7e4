// SPDX-License-Identifier: BSD-3-Clause
// Attention of one query to a matrix of keys, which is how decoding runs. Blocks of queries would be mostly padding.
#pragma once

#include "kernels/attention.h"

namespace nervure::kernels::NV_ISA {

/// Whether attend_single_queries() does all that is asked for.
bool asks_single_queries(const Attention& attention);
/// What attention_forward() does.
void attend_single_queries(const Attention& attention, float* y, float* log_sum);

}  // namespace nervure::kernels::NV_ISA
