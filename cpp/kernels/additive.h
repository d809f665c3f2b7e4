// SPDX-License-Identifier: BSD-3-Clause
// Additive attention of one query for each row of a batch, from projections of query and keys.
// Source: Bahdanau et al., "Neural machine translation by jointly learning to align and translate", 2015.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

struct AdditiveAttention {
  std::int64_t batch, keys, size, value_size;
  const float* query;           // (batch, size)
  const float* projected;       // (batch, keys, size)
  const float* score;           // (size)
  const float* values;          // (batch, keys, value_size)
  const std::int64_t* lengths;  // (batch): the keys that count, 0 .. keys; or null: all
};

/// weights (batch, keys) = softmax_j(score . tanh(query + projected_j)), 0 for keys that do not count;
/// y (batch, value_size) = Σ_j weights_j values_j. A row without keys gives zeros.
NV_KERNEL(additive_attention, const AdditiveAttention& attention, float* weights, float* y)

}  // namespace nervure::kernels
