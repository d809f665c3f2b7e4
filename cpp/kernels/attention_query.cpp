// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/attention_query.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/attention_block.h"
#include "kernels/horizontal.h"
#include "kernels/rows.h"
#include "kernels/weighted_rows.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunkWork = 100'000;  // multiply-adds
constexpr int kKeys = 4;                      // whose products with the query are summed at once

/// scores[j] = scale q . k_j for the keys j of [0, kKeys), or for the first alone.
template <int Keys>
NV_INLINE void score(const float* q, const float* k, std::int64_t step, std::int64_t size, float scale, float* scores) {
  vf sum[kKeys] = {};
  for_vectors(0, size, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    const vf x = load_some(q + c, count);
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) sum[j] = fma(x, load_some(k + j * step + c, count), sum[j]);
  });
  const vq total = sum_of_four(sum[0], sum[1], sum[2], sum[3]) * scale;
  if constexpr (Keys == kKeys)
    store_quarter(scores, total);
  else
    scores[0] = total[0];
}

void attend(const Attention& a, const AttentionHead& head, float* scores, float* y, float* log_sum) {
  const std::int64_t keys = a.causal ? smaller(head.keys, 1) : head.keys, step = a.k_steps.row;
  if (keys == 0) {
    zero_rows(y, a.y_steps.row, 1, a.value_size);
    *log_sum = kInfinity;
    return;
  }
  std::int64_t j = 0;
  for (; j + kKeys <= keys; j += kKeys) score<kKeys>(head.q, head.k + j * step, step, a.head_size, a.scale, scores + j);
  for (; j < keys; ++j) score<1>(head.q, head.k + j * step, step, a.head_size, a.scale, scores + j);
  const float largest = row_max(scores, keys), sum = row_exp<true>(scores, keys, largest, scores);
  weighted_sum(scores, head.v, a.v_steps.row, keys, a.value_size, 1.0f / sum, y);
  *log_sum = largest + __builtin_logf(sum);
}

}  // namespace

bool asks_single_queries(const Attention& a) { return a.queries == 1 && !a.bias && !a.allowed && !a.stream; }

void attend_single_queries(const Attention& a, float* y, float* log_sum) {
  const std::int64_t work = larger(1, a.keys * (a.head_size + a.value_size));
  core::parallel_for(a.batch * a.heads, larger(1, kChunkWork / work), [&](std::int64_t begin, std::int64_t end) {
    const core::Scratch<float> scores(static_cast<std::size_t>(larger(1, a.keys)));
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t batch = i / a.heads;
      attend(a, attention_head(a, i), scores.get(),
             y + batch * a.y_steps.batch + (i - batch * a.heads) * a.y_steps.head, log_sum + i);
    }
  });
}

}  // namespace nervure::kernels::NV_ISA
