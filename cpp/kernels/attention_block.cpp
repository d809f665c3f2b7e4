// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/attention_block.h"

#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"
#include "kernels/lanes.h"
#include "kernels/philox.h"
#include "kernels/transpose.h"

namespace nervure::kernels::NV_ISA {
namespace {

static_assert(kQueryBlock == kGroupNumbers);

/// C = A B (+ C) of operands that lie in place, by this thread.
void multiply(std::int64_t M, std::int64_t N, std::int64_t K, const float* a, std::int64_t lda, bool a_transposed,
              const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  Gemm product{M, N, K, a, lda, a_transposed, b, ldb, false, c, ldc};
  product.accumulate = accumulate;
  multiply_block(product, {K, /*pack_b=*/false, /*panels_outside=*/true}, {0, M}, {0, N});
}

// ---- masks -------------------------------------------------------------------------------------------------------

/// What is added to the score of one query and key.
NV_INLINE float mask_at(const AttentionHead& head, std::int64_t at) {
  if (head.bias) return head.bias[at];
  return head.allowed[at] ? 0.0f : -kInfinity;
}

/// The same in units of ln 2. A finite number must not turn into minus infinity: that forbids the key, even where no
/// other is left.
NV_INLINE vf of_base_2(vf mask) {
  return select(mask == -kInfinity, mask, max(broadcast(-0x1.fffffep127f), mask * kLog2E));
}

/// One row of the mask, for all queries.
void add_key_mask(const AttentionHead& head, const AttentionBlock& block, float* scores) {
  for (std::int64_t j = 0; j < block.keys; ++j) {
    const vf mask = of_base_2(broadcast(mask_at(head, block.key + j)));
    float* const row = scores + j * block.width;
    for (std::int64_t i = 0; i < block.width; i += kLanes) store(row + i, load(row + i) + mask);
  }
}

/// kLanes x kLanes of the mask at a time, transposed in registers.
void add_matrix_mask(const AttentionHead& head, std::int64_t step, const AttentionBlock& block, float* scores) {
  alignas(64) float tile[kLanes * kLanes], transposed[kLanes * kLanes];
  for (std::int64_t i = 0; i < block.queries; i += kLanes) {
    const std::int64_t rows = smaller(kLanes, block.queries - i);
    for (std::int64_t j = 0; j < block.keys; j += kLanes) {
      const std::int64_t columns = smaller(kLanes, block.keys - j);
      for (std::int64_t r = 0; r < kLanes; ++r)
        for (std::int64_t c = 0; c < kLanes; ++c)
          tile[r * kLanes + c] =
              r < rows && c < columns ? mask_at(head, (block.query + i + r) * step + block.key + j + c) : 0.0f;
      transpose_block(tile, kLanes, transposed, kLanes);
      for (std::int64_t c = 0; c < columns; ++c) {
        float* const at = scores + (j + c) * block.width + i;
        store(at, load(at) + of_base_2(load(transposed + c * kLanes)));
      }
    }
  }
}

void forbid_later_keys(const AttentionBlock& block, float* scores) {
  for (std::int64_t j = 0; j < block.keys; ++j) {
    const std::int64_t hidden = block.key + j - block.query;  // the first queries do not see this key
    float* const row = scores + j * block.width;
    for (std::int64_t i = 0; i < block.width && i < hidden; i += kLanes) {
      const vi later = lane_numbers() + static_cast<std::int32_t>(i) < static_cast<std::int32_t>(hidden);
      store(row + i, select(later, broadcast(-kInfinity), load(row + i)));
    }
  }
}

}  // namespace

AttentionHead attention_head(const Attention& a, std::int64_t index) {
  const std::int64_t batch = index / a.heads, head = index - batch * a.heads;
  const auto at = [=](const AttentionSteps& steps) { return batch * steps.batch + head * steps.head; };
  return {a.q + at(a.q_steps),
          a.k + at(a.k_steps),
          a.v + at(a.v_steps),
          a.bias ? a.bias + at(a.mask_steps) : nullptr,
          a.allowed ? a.allowed + at(a.mask_steps) : nullptr,
          a.lengths ? smaller(larger(a.lengths[batch], 0), a.keys) : a.keys,
          index};
}

AttentionBlock query_block(const Attention& a, std::int64_t query) {
  const std::int64_t queries = smaller(kQueryBlock, a.queries - query);
  return {query, queries, ceil_div(queries, kLanes) * kLanes, 0, 0};
}

std::int64_t visible_keys(const Attention& a, const AttentionHead& head, const AttentionBlock& block) {
  return a.causal ? smaller(head.keys, block.query + block.queries) : head.keys;
}

void transpose_rows(const float* rows, std::int64_t step, std::int64_t columns, const AttentionBlock& block,
                    float scale, float* to) {
  pack_b(rows, step, /*transposed=*/true, columns, block.queries, static_cast<int>(block.width / kLanes), to, columns);
  if (scale == 1.0f) return;
  for (std::int64_t i = 0; i < columns * block.width; i += kLanes) store(to + i, load(to + i) * scale);
}

void attention_scores(const Attention& a, const AttentionHead& head, const AttentionBlock& block,
                      const float* queries_transposed, float* scores) {
  multiply(block.keys, block.width, a.head_size, head.k + block.key * a.k_steps.row, a.k_steps.row, false,
           queries_transposed, block.width, scores, block.width, false);
  if (head.bias || head.allowed) {
    if (a.mask_steps.row == 0)
      add_key_mask(head, block, scores);
    else
      add_matrix_mask(head, a.mask_steps.row, block, scores);
  }
  if (a.causal && block.key + block.keys - 1 > block.query) forbid_later_keys(block, scores);
}

void attention_value_products(const Attention& a, const AttentionHead& head, const AttentionBlock& block,
                              const float* dy_transposed, float* out) {
  multiply(block.keys, block.width, a.value_size, head.v + block.key * a.v_steps.row, a.v_steps.row, false,
           dy_transposed, block.width, out, block.width, false);
}

void sum_over_keys(const AttentionBlock& block, const float* weights, const float* rows, std::int64_t rows_step,
                   std::int64_t columns, float* out, std::int64_t out_step, bool accumulate) {
  multiply(block.queries, columns, block.keys, weights, block.width, true, rows, rows_step, out, out_step, accumulate);
}

void sum_over_queries(const AttentionBlock& block, const float* weights, const float* rows, std::int64_t rows_step,
                      std::int64_t columns, float* out, std::int64_t out_step, bool accumulate) {
  multiply(block.keys, columns, block.queries, weights, block.width, false, rows, rows_step, out, out_step, accumulate);
}

void zero_rows(float* rows, std::int64_t step, std::int64_t count, std::int64_t columns) {
  for (std::int64_t i = 0; i < count; ++i)
    std::memset(rows + i * step, 0, static_cast<std::size_t>(columns) * sizeof(float));
}

void drop_weights(const Attention& a, const AttentionHead& head, const AttentionBlock& block, float* weights) {
  if (!a.stream) return;
  const std::int64_t blocks = ceil_div(a.queries, kQueryBlock);
  const std::int64_t first = (head.index * blocks + block.query / kQueryBlock) * a.keys + block.key;
  for (std::int64_t j = 0; j < block.keys; ++j) {
    float* const row = weights + j * block.width;
    deal_group(a.stream, first + j, [&](const Words& words, std::int64_t place) NV_INLINE_LAMBDA {
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) {
        const std::int64_t at = place + kGroupCounters * n;
        if (at < block.width)
          store(row + at, select((vi)(words.word[n] >= a.threshold), load(row + at) * a.keep_scale, vf{}));
      }
    });
  }
}

}  // namespace nervure::kernels::NV_ISA
