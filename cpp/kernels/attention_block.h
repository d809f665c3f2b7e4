// SPDX-License-Identifier: BSD-3-Clause
// The pieces of attention for one block of queries and keys. Scores are kept transposed, one row per key: softmax then
// runs over whole vectors of queries, and every product reads its operands where they lie; only the block of queries
// (and that of dy) is transposed, once for all keys.
#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace nervure::kernels::NV_ISA {

constexpr std::int64_t kQueryBlock = 64;  // as many as the numbers of a group of the generator
constexpr std::int64_t kKeyBlock = 128;

/// The matrices of one batch and head.
struct AttentionHead {
  const float *q, *k, *v, *bias;
  const std::uint8_t* allowed;
  std::int64_t keys;   // that count
  std::int64_t index;  // among all heads of all batches
};
AttentionHead attention_head(const Attention& attention, std::int64_t index);

struct AttentionBlock {
  std::int64_t query, queries, width;  // first and number of the queries; the number rounded up to whole vectors
  std::int64_t key, keys;
};
/// Without keys yet.
AttentionBlock query_block(const Attention& attention, std::int64_t query);
/// How many of the head's first keys a block of queries sees.
std::int64_t visible_keys(const Attention& attention, const AttentionHead& head, const AttentionBlock& block);

/// to[c * width + i] = scale * rows[i * step + c]; zero behind the last row.
void transpose_rows(const float* rows, std::int64_t step, std::int64_t columns, const AttentionBlock& block,
                    float scale, float* to);

/// scores[j * width + i] = rows_j · columns_i + mask_ij, from transposed columns, for the keys and queries of a block.
void attention_scores(const Attention& attention, const AttentionHead& head, const AttentionBlock& block,
                      const float* queries_transposed, float* scores);
/// out (keys x width) = V dy^T.
void attention_value_products(const Attention& attention, const AttentionHead& head, const AttentionBlock& block,
                              const float* dy_transposed, float* out);

/// out[i] (+)= Σ_j weights[j * width + i] rows[j]: over the keys of a block.
void sum_over_keys(const AttentionBlock& block, const float* weights, const float* rows, std::int64_t rows_step,
                   std::int64_t columns, float* out, std::int64_t out_step, bool accumulate);
/// out[j] += Σ_i weights[j * width + i] rows[i]: over the queries of a block.
void add_over_queries(const AttentionBlock& block, const float* weights, const float* rows, std::int64_t rows_step,
                      std::int64_t columns, float* out, std::int64_t out_step);

void zero_rows(float* rows, std::int64_t step, std::int64_t count, std::int64_t columns);

/// Dropout of keys x width weights, drawn again wherever it is called.
void drop_weights(const Attention& attention, const AttentionHead& head, const AttentionBlock& block, float* weights);

}  // namespace nervure::kernels::NV_ISA
