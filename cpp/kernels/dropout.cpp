// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/dropout.h"

#include <cstring>

#include "core/parallel.h"
#include "kernels/philox.h"

namespace nervure::kernels::NV_ISA {
namespace {

NV_INLINE void drop_group(const std::int64_t* stream, std::int64_t group, std::uint32_t threshold, float scale,
                          const float* x, float* y) {
  deal_group(stream, group, [&](const Words& words, std::int64_t place) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const std::int64_t at = place + kGroupCounters * j;
      store(y + at, select((vi)(words.word[j] >= threshold), load(x + at) * scale, vf{}));
    }
  });
}

}  // namespace

void dropout(const std::int64_t* stream, std::uint32_t threshold, float scale, const float* x, float* y,
             std::int64_t n) {
  const std::int64_t groups = (n + kGroupNumbers - 1) / kGroupNumbers;
  core::parallel_for(groups, kGroupGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t at = group * kGroupNumbers, left = n - at;
      if (left >= kGroupNumbers) {
        drop_group(stream, group, threshold, scale, x + at, y + at);
      } else {
        alignas(64) float last[kGroupNumbers] = {};
        std::memcpy(last, x + at, static_cast<std::size_t>(left) * sizeof(float));
        drop_group(stream, group, threshold, scale, last, last);
        std::memcpy(y + at, last, static_cast<std::size_t>(left) * sizeof(float));
      }
    }
  });
}

}  // namespace nervure::kernels::NV_ISA
