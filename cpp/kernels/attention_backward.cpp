// SPDX-License-Identifier: BSD-3-Clause
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/vmath.h"
#include "kernels/attention_block.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kWantedChunks = 8;  // heads are cut into ranges of keys where there are fewer
constexpr std::int64_t kFewestKeys = 2 * kKeyBlock;

/// The gradients of one head; dq_step apart are rows of dq, which may be a partial sum.
struct HeadGradients {
  const float *y, *dy, *log_sum;
  float *dq, *dk, *dv;
  std::int64_t dq_step;
};

/// What a block of queries brings to every block of keys.
struct QueryTerms {
  float *queries, *dy;                                       // transposed
  alignas(64) float log_sum[kQueryBlock], dot[kQueryBlock];  // of base 2; dot_i = dy_i · y_i
};

void load_terms(const Attention& a, const AttentionGradients& g, const AttentionHead& head, const HeadGradients& at,
                const AttentionBlock& block, QueryTerms& terms) {
  const std::int64_t first = block.query;
  transpose_rows(head.q + first * a.q_steps.row, a.q_steps.row, a.head_size, block, a.scale * kLog2E, terms.queries);
  transpose_rows(at.dy + first * g.dy_steps.row, g.dy_steps.row, a.value_size, block, 1.0f, terms.dy);
  for (std::int64_t i = 0; i < block.width; ++i) {
    if (i >= block.queries) {
      terms.log_sum[i] = kInfinity;  // no weights
      terms.dot[i] = 0.0f;
      continue;
    }
    terms.log_sum[i] = at.log_sum[first + i] * kLog2E;
    const float *dy = at.dy + (first + i) * g.dy_steps.row, *y = at.y + (first + i) * a.y_steps.row;
    vf dot{};
    for_vectors(0, a.value_size, [&](std::int64_t c, std::int64_t n) NV_INLINE_LAMBDA {
      dot = fma(load_some(dy + c, n), load_some(y + c, n), dot);
    });
    terms.dot[i] = fold_sum(dot);
  }
}

/// Scores become weights w, and dw becomes d(score) * scale = w (dw - dot) * scale.
void softmax_backward_block(const AttentionBlock& block, const QueryTerms& terms, float scale, float* scores,
                            float* dw) {
  for_query_vectors(block, [&](std::int64_t i, auto count) NV_INLINE_LAMBDA {
    vf total[count.value], dot[count.value];
#pragma GCC unroll 4
    for (int v = 0; v < count.value; ++v) {
      total[v] = load(terms.log_sum + i + v * kLanes);
      dot[v] = load(terms.dot + i + v * kLanes);
    }
    for (std::int64_t j = 0; j < block.keys; ++j)
#pragma GCC unroll 4
      for (int v = 0; v < count.value; ++v) {
        const std::int64_t at = j * block.width + i + v * kLanes;
        // No weight exceeds 1, though a score and its sum differ by whole numbers where floats lie that far apart.
        const vf weight = exp2(min(vf{}, load(scores + at) - total[v]));
        store(scores + at, weight);
        store(dw + at, weight * (load(dw + at) - dot[v]) * scale);
      }
  });
}

/// Gradients of keys and values are written by the first block of queries that sees the key and added to by the others.
/// Keys behind `written` that a block shares with written ones start from zero.
bool starts_keys(const AttentionGradients& g, const HeadGradients& at, const AttentionBlock& block, const Attention& a,
                 std::int64_t written) {
  if (block.key >= written) return true;
  const std::int64_t fresh = larger(written, block.key), end = block.key + block.keys;
  if (fresh < end) {
    zero_rows(at.dk + fresh * g.dk_steps.row, g.dk_steps.row, end - fresh, a.head_size);
    zero_rows(at.dv + fresh * g.dv_steps.row, g.dv_steps.row, end - fresh, a.value_size);
  }
  return false;
}

/// Everything that keys begin .. end of one head contribute: their dk and dv, and a share of dq.
void backward_of_keys(const Attention& a, const AttentionGradients& g, const AttentionHead& head,
                      const HeadGradients& at, std::int64_t begin, std::int64_t end) {
  const core::Scratch<float> scratch(
      static_cast<std::size_t>((a.head_size + a.value_size + 2 * kKeyBlock) * kQueryBlock));
  float* const weights = scratch.get() + (a.head_size + a.value_size) * kQueryBlock;
  float* const dw = weights + kKeyBlock * kQueryBlock;
  QueryTerms terms;
  terms.queries = scratch.get();
  terms.dy = terms.queries + a.head_size * kQueryBlock;
  std::int64_t written = begin;  // the keys before it have gradients
  for (std::int64_t query = 0; query < a.queries; query += kQueryBlock) {
    AttentionBlock block = query_block(a, query);
    const std::int64_t last = smaller(end, visible_keys(a, head, block));
    float* const dq = at.dq + query * at.dq_step;
    if (last <= begin) {
      zero_rows(dq, at.dq_step, block.queries, a.head_size);
      continue;
    }
    load_terms(a, g, head, at, block, terms);
    const float *q = head.q + query * a.q_steps.row, *dy = at.dy + query * g.dy_steps.row;
    for (block.key = begin; block.key < last; block.key += kKeyBlock) {
      block.keys = smaller(kKeyBlock, last - block.key);
      const bool add = !starts_keys(g, at, block, a, written);
      attention_scores(a, head, block, terms.queries, weights);
      attention_value_products(a, head, block, terms.dy, dw);
      drop_weights(a, head, block, dw);
      softmax_backward_block(block, terms, a.scale, weights, dw);
      drop_weights(a, head, block, weights);
      sum_over_queries(block, weights, dy, g.dy_steps.row, a.value_size, at.dv + block.key * g.dv_steps.row,
                       g.dv_steps.row, add);
      sum_over_queries(block, dw, q, a.q_steps.row, a.head_size, at.dk + block.key * g.dk_steps.row, g.dk_steps.row,
                       add);
      sum_over_keys(block, dw, head.k + block.key * a.k_steps.row, a.k_steps.row, a.head_size, dq, at.dq_step,
                    block.key > begin);
    }
    written = larger(written, last);
  }
  zero_rows(at.dk + written * g.dk_steps.row, g.dk_steps.row, end - written, a.head_size);
  zero_rows(at.dv + written * g.dv_steps.row, g.dv_steps.row, end - written, a.value_size);
}

HeadGradients head_gradients(const Attention& a, const AttentionGradients& g, std::int64_t index) {
  const std::int64_t batch = index / a.heads, head = index - batch * a.heads;
  const auto at = [=](const AttentionSteps& steps) { return batch * steps.batch + head * steps.head; };
  return {g.y + at(a.y_steps),   g.dy + at(g.dy_steps), g.log_sum + index * a.queries,
          g.dq + at(g.dq_steps), g.dk + at(g.dk_steps), g.dv + at(g.dv_steps),
          g.dq_steps.row};
}

/// dq = the sum of `pieces` partial ones.
void add_pieces(const Attention& a, const float* partial, std::int64_t pieces, const HeadGradients& at) {
  const std::int64_t size = a.queries * a.head_size;
  for (std::int64_t i = 0; i < a.queries; ++i)
    for_vectors(0, a.head_size, [&](std::int64_t c, std::int64_t n) NV_INLINE_LAMBDA {
      const float* from = partial + i * a.head_size + c;
      vf sum = load_some(from, n);
      for (std::int64_t piece = 1; piece < pieces; ++piece) sum += load_some(from + piece * size, n);
      store_some(at.dq + i * at.dq_step + c, sum, n);
    });
}

}  // namespace

void attention_backward(const Attention& a, const AttentionGradients& g) {
  const std::int64_t heads = a.batch * a.heads;
  if (heads == 0) return;
  const std::int64_t pieces = larger(1, smaller(ceil_div(kWantedChunks, heads), a.keys / kFewestKeys));
  const std::int64_t step = ceil_div(ceil_div(a.keys, pieces), kKeyBlock) * kKeyBlock;
  if (pieces == 1) {
    core::parallel_chunks(heads, [&](std::int64_t index) {
      backward_of_keys(a, g, attention_head(a, index), head_gradients(a, g, index), 0, a.keys);
    });
    return;
  }
  const std::int64_t size = a.queries * a.head_size;
  const core::Scratch<float> partial(static_cast<std::size_t>(heads * pieces * size));
  core::parallel_chunks(heads * pieces, [&](std::int64_t chunk) {
    const std::int64_t index = chunk / pieces, piece = chunk - index * pieces;
    HeadGradients at = head_gradients(a, g, index);
    at.dq = partial.get() + chunk * size;
    at.dq_step = a.head_size;
    backward_of_keys(a, g, attention_head(a, index), at, smaller(piece * step, a.keys),
                     smaller((piece + 1) * step, a.keys));
  });
  core::parallel_chunks(heads, [&](std::int64_t index) {
    add_pieces(a, partial.get() + index * pieces * size, pieces, head_gradients(a, g, index));
  });
}

}  // namespace nervure::kernels::NV_ISA
