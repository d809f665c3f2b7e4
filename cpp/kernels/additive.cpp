// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/additive.h"

#include "core/parallel.h"
#include "kernels/horizontal.h"
#include "kernels/rows.h"
#include "kernels/weighted_rows.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunkWork = 100'000;  // multiply-adds
constexpr std::int64_t kTanhWork = 16;        // of these, what one hyperbolic tangent takes
constexpr int kKeys = 4;                      // whose scores are summed at once

/// scores[j] = score . tanh(query + projected_j) for the keys j of [0, kKeys), or for the first alone.
template <int Keys>
NV_INLINE void score_keys(const AdditiveAttention& a, const float* query, const float* projected, float* scores) {
  vf sum[kKeys] = {};
  for_vectors(0, a.size, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    const vf q = load_some(query + c, count), v = load_some(a.score + c, count);
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) sum[j] = fma(v, tanh(q + load_some(projected + j * a.size + c, count)), sum[j]);
  });
  const vq total = sum_of_four(sum[0], sum[1], sum[2], sum[3]);
  if constexpr (Keys == kKeys)
    store_quarter(scores, total);
  else
    scores[0] = total[0];
}

void attend(const AdditiveAttention& a, std::int64_t row, float* weights, float* y) {
  const std::int64_t keys = a.lengths ? a.lengths[row] : a.keys;
  for (std::int64_t j = keys; j < a.keys; ++j) weights[j] = 0.0f;
  if (keys == 0) {
    std::memset(y, 0, static_cast<std::size_t>(a.value_size) * sizeof(float));
    return;
  }
  const float *const query = a.query + row * a.size, *const projected = a.projected + row * a.keys * a.size;
  std::int64_t j = 0;
  for (; j + kKeys <= keys; j += kKeys) score_keys<kKeys>(a, query, projected + j * a.size, weights + j);
  for (; j < keys; ++j) score_keys<1>(a, query, projected + j * a.size, weights + j);
  const float sum = row_exp<true>(weights, keys, row_max(weights, keys), weights);
  row_scale(weights, keys, 1.0f / sum);
  weighted_sum(weights, a.values + row * a.keys * a.value_size, a.value_size, keys, a.value_size, 1.0f, y);
}

}  // namespace

void additive_attention(const AdditiveAttention& a, float* weights, float* y) {
  const std::int64_t work = larger(1, a.keys * (kTanhWork * a.size + a.value_size));
  core::parallel_for(a.batch, larger(1, kChunkWork / work), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) attend(a, row, weights + row * a.keys, y + row * a.value_size);
  });
}

}  // namespace nervure::kernels::NV_ISA
