// SPDX-License-Identifier: BSD-3-Clause
// Scaled dot-product attention, blocked over keys: the matrix of weights is never stored.
// Source: Dao et al., "FlashAttention: fast and memory-efficient exact attention with IO-awareness", 2022.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

/// Where the rows of an operand lie, in elements: one matrix per batch and head, its columns neighbours in memory.
struct AttentionSteps {
  std::int64_t batch, head, row;
};

/// y_i = Σ_j w_ij v_j with w_i = softmax_j(scale q_i·k_j + mask_ij), for every batch and head.
struct Attention {
  std::int64_t batch, heads, queries, keys, head_size, value_size;
  const float *q, *k, *v;
  AttentionSteps q_steps, k_steps, v_steps, y_steps;
  float scale;
  bool causal = false;                    // query i sees keys 0 .. i
  const float* bias = nullptr;            // added to the scores; or
  const std::uint8_t* allowed = nullptr;  // zero forbids a key. At most one of the two; steps may be 0
  AttentionSteps mask_steps{0, 0, 0};
  const std::int64_t* lengths = nullptr;  // (batch): the keys that count, 0 .. keys
  const std::int64_t* stream = nullptr;   // {seed, offset} of the dropout of weights (core/rng.h), or none
  std::uint32_t threshold = 0;            // weights whose number lies below it are dropped
  float keep_scale = 1.0f;                // the others are multiplied by it
};

/// Random numbers that the dropout of one product of `queries` x `keys` takes.
inline constexpr std::int64_t attention_numbers(std::int64_t queries, std::int64_t keys) {
  return (queries + 63) / 64 * 64 * keys;
}

/// y, and log Σ_j exp(score_ij) of every query (batch x heads x queries) for the backward; a query without keys gives a
/// row of zeros. y overlaps no input.
NV_KERNEL(attention_forward, const Attention& attention, float* y, float* log_sum)

struct AttentionGradients {
  const float *y, *log_sum;  // what the forward gave
  const float* dy;
  AttentionSteps dy_steps;
  float *dq, *dk, *dv;
  AttentionSteps dq_steps, dk_steps, dv_steps;
};
NV_KERNEL(attention_backward, const Attention& attention, const AttentionGradients& gradients)

}  // namespace nervure::kernels
