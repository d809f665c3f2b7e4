// SPDX-License-Identifier: BSD-3-Clause
// Sums as a fixed binary tree over fixed blocks: the error grows like log n, and the bits depend neither on the number
// of threads nor on which of them took a block.
#pragma once

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kSumLeaf = 128 * kLanes;  // summed in 4 independent accumulators: 32 additions in a row
constexpr std::int64_t kSumChunk = 32 * 1024;    // what one task sums: about 3 us, from memory 8

template <class Map>
NV_INLINE vf leaf_sum(std::int64_t begin, std::int64_t end, const Map& map) {
  vf total[4] = {};
  std::int64_t i = begin;
  for (; i + 4 * kLanes <= end; i += 4 * kLanes)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) total[k] += map(i + k * kLanes, std::int64_t{kLanes});
  for (; i + kLanes <= end; i += kLanes) total[0] += map(i, std::int64_t{kLanes});
  if (i < end) total[1] += first_lanes(map(i, end - i), end - i, 0.0f);
  return (total[0] + total[1]) + (total[2] + total[3]);
}

/// Σ map(i, count) for i in [begin, end), lane by lane: the caller folds the lanes. map(i, count) gives elements
/// i .. i+count-1 in the first lanes; it must be always_inline.
template <class Map>
vf tree_sum(std::int64_t begin, std::int64_t end, const Map& map) {
  const std::int64_t n = end - begin;
  if (n <= kSumLeaf) return leaf_sum(begin, end, map);
  const std::int64_t half = ceil_div(n / 2, kSumLeaf) * kSumLeaf;
  return tree_sum(begin, begin + half, map) + tree_sum(begin + half, end, map);
}

NV_INLINE float tree_sum(const float* x, std::int64_t n) {
  return fold_sum(
      tree_sum(0, n, [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA { return load_some(x + i, count); }));
}

/// Σ map(i, count) for i in [0, n), on all threads.
template <class Map>
float parallel_sum(std::int64_t n, const Map& map) {
  if (n <= kSumChunk) return fold_sum(tree_sum(0, n, map));
  const std::int64_t chunks = ceil_div(n, kSumChunk);
  const core::Scratch<float> partial(static_cast<std::size_t>(chunks));
  float* const totals = partial.get();
  core::parallel_chunks(chunks, [&](std::int64_t chunk) {
    const std::int64_t begin = chunk * kSumChunk;
    totals[chunk] = fold_sum(tree_sum(begin, smaller(n, begin + kSumChunk), map));
  });
  return tree_sum(totals, chunks);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
