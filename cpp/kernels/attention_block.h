// SPDX-License-Identifier: BSD-3-Clause
// The pieces of attention for one block of queries and keys. Scores are kept transposed, one row per key: softmax then
// runs over whole vectors of queries, and every product reads its operands where they lie; only the block of queries
// (and that of dy) is transposed, once for all keys.
#pragma once

#include <cstdint>

#include "core/vec.h"
#include "kernels/attention.h"

namespace nervure::kernels::NV_ISA {

constexpr std::int64_t kQueryBlock = 64;  // as many as the numbers of a group of the generator
constexpr std::int64_t kKeyBlock = 128;
constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr int kSideBySide = 4;  // vectors of queries that go through the keys together: hides latencies

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

/// scores[j * width + i] = (scale k_j · q_i + mask_ij) / ln 2, for the keys and queries of a block: exponentials of
/// base 2 are cheaper. `queries_transposed` holds q scale / ln 2.
void attention_scores(const Attention& attention, const AttentionHead& head, const AttentionBlock& block,
                      const float* queries_transposed, float* scores);
/// out (keys x width) = V dy^T.
void attention_value_products(const Attention& attention, const AttentionHead& head, const AttentionBlock& block,
                              const float* dy_transposed, float* out);

/// out[i] (+)= Σ_j weights[j * width + i] rows[j]: over the keys of a block.
void sum_over_keys(const AttentionBlock& block, const float* weights, const float* rows, std::int64_t rows_step,
                   std::int64_t columns, float* out, std::int64_t out_step, bool accumulate);
/// out[j] (+)= Σ_i weights[j * width + i] rows[i]: over the queries of a block.
void sum_over_queries(const AttentionBlock& block, const float* weights, const float* rows, std::int64_t rows_step,
                      std::int64_t columns, float* out, std::int64_t out_step, bool accumulate);

template <int n>
struct Constant {
  static constexpr int value = n;
};
/// body(i, count) for all vectors of queries of a block, `count` of them (a Constant) at a time.
template <class Body>
NV_INLINE void for_query_vectors(const AttentionBlock& block, const Body& body) {
  std::int64_t i = 0;
  for (; i + kSideBySide * simd::NV_ISA::kLanes <= block.width; i += kSideBySide * simd::NV_ISA::kLanes)
    body(i, Constant<kSideBySide>{});
  for (; i < block.width; i += simd::NV_ISA::kLanes) body(i, Constant<1>{});
}

void zero_rows(float* rows, std::int64_t step, std::int64_t count, std::int64_t columns);

/// Dropout of keys x width weights, drawn again wherever it is called.
void drop_weights(const Attention& attention, const AttentionHead& head, const AttentionBlock& block, float* weights);

}  // namespace nervure::kernels::NV_ISA
