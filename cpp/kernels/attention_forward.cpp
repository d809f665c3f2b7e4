// SPDX-License-Identifier: BSD-3-Clause
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/vmath.h"
#include "kernels/attention_block.h"
#include "kernels/attention_query.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunkWork = 250'000;  // multiply-adds

/// The softmax of a block of queries so far.
struct Running {
  alignas(64) float largest[kQueryBlock], sum[kQueryBlock], rescale[kQueryBlock];
};

/// The same for `Count` vectors of queries.
template <int Count>
NV_INLINE void absorb_columns(const AttentionBlock& block, float* scores, Running& running, std::int64_t i) {
  vf largest[Count], shift[Count], sum[Count];
#pragma GCC unroll 4
  for (int v = 0; v < Count; ++v) largest[v] = load(running.largest + i + v * kLanes);
  for (std::int64_t j = 0; j < block.keys; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < Count; ++v) largest[v] = max(load(scores + j * block.width + i + v * kLanes), largest[v]);
#pragma GCC unroll 4
  for (int v = 0; v < Count; ++v) {
    const std::int64_t at = i + v * kLanes;
    shift[v] = select(largest[v] == -kInfinity, vf{}, largest[v]);
    const vf rescale = exp2(load(running.largest + at) - shift[v]);
    sum[v] = load(running.sum + at) * rescale;
    store(running.largest + at, largest[v]);
    store(running.rescale + at, rescale);
  }
  for (std::int64_t j = 0; j < block.keys; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < Count; ++v) {
      float* const at = scores + j * block.width + i + v * kLanes;
      const vf weight = exp2(load(at) - shift[v]);
      store(at, weight);
      sum[v] += weight;
    }
#pragma GCC unroll 4
  for (int v = 0; v < Count; ++v) store(running.sum + i + v * kLanes, sum[v]);
}

/// Scores become weights relative to the largest score so far; sums follow; `rescale` is what older weights shrink by.
void absorb_scores(const AttentionBlock& block, float* scores, Running& running) {
  for_query_vectors(block, [&](std::int64_t i, auto count)
                               NV_INLINE_LAMBDA { absorb_columns<count.value>(block, scores, running, i); });
}

void scale_rows(float* rows, std::int64_t step, std::int64_t count, std::int64_t columns, const float* factor) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (factor[i] == 1.0f) continue;
    float* const row = rows + i * step;
    for_vectors(0, columns, [&](std::int64_t c, std::int64_t n) NV_INLINE_LAMBDA {
      store_some(row + c, load_some(row + c, n) * factor[i], n);
    });
  }
}

/// Weights relative to the largest score become a softmax; a row without keys becomes zeros.
void finish_rows(const Attention& a, const AttentionBlock& block, Running& running, float* y, float* log_sum) {
  for (std::int64_t i = 0; i < block.queries; i += kLanes) {
    const vf sum = load(running.sum + i);
    const vi none = sum == 0.0f;
    const vf total = select(none, broadcast(kInfinity), load(running.largest + i) * kLn2 + log(sum));
    store_some(log_sum + i, total, smaller(kLanes, block.queries - i));
    store(running.rescale + i, select(none, vf{}, 1.0f / sum));
  }
  scale_rows(y, a.y_steps.row, block.queries, a.value_size, running.rescale);
}

void attend(const Attention& a, const AttentionHead& head, AttentionBlock block, float* y, float* log_sum) {
  const core::Scratch<float> scratch(static_cast<std::size_t>((a.head_size + kKeyBlock) * block.width));
  float* const queries = scratch.get();
  float* const scores = queries + a.head_size * block.width;
  transpose_rows(head.q + block.query * a.q_steps.row, a.q_steps.row, a.head_size, block, a.scale * kLog2E, queries);
  Running running;
  for (std::int64_t i = 0; i < block.width; i += kLanes) {
    store(running.largest + i, broadcast(-kInfinity));
    store(running.sum + i, vf{});
  }
  const std::int64_t visible = visible_keys(a, head, block);
  if (visible == 0) zero_rows(y, a.y_steps.row, block.queries, a.value_size);
  for (; block.key < visible; block.key += kKeyBlock) {
    block.keys = smaller(kKeyBlock, visible - block.key);
    attention_scores(a, head, block, queries, scores);
    absorb_scores(block, scores, running);
    drop_weights(a, head, block, scores);
    const bool first = block.key == 0;
    if (!first) scale_rows(y, a.y_steps.row, block.queries, a.value_size, running.rescale);
    sum_over_keys(block, scores, head.v + block.key * a.v_steps.row, a.v_steps.row, a.value_size, y, a.y_steps.row,
                  !first);
  }
  finish_rows(a, block, running, y, log_sum);
}

}  // namespace

void attention_forward(const Attention& a, float* y, float* log_sum) {
  if (asks_single_queries(a)) return attend_single_queries(a, y, log_sum);
  const std::int64_t blocks = ceil_div(a.queries, kQueryBlock);
  const std::int64_t work = kQueryBlock * a.keys * (a.head_size + a.value_size);
  core::parallel_for(a.batch * a.heads * blocks, larger(1, kChunkWork / larger(1, work)),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t task = begin; task < end; ++task) {
                         const AttentionHead head = attention_head(a, task / blocks);
                         const std::int64_t batch = head.index / a.heads;
                         const AttentionBlock block = query_block(a, task % blocks * kQueryBlock);
                         attend(a, head, block,
                                y + batch * a.y_steps.batch + (head.index - batch * a.heads) * a.y_steps.head +
                                    block.query * a.y_steps.row,
                                log_sum + head.index * a.queries + block.query);
                       }
                     });
}

}  // namespace nervure::kernels::NV_ISA
