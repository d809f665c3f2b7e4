// SPDX-License-Identifier: BSD-3-Clause
// Philox4x32-10 over a vector of counters, and the order in which its words are dealt (core/rng.h). For kernel files.
#pragma once

#include <cstdint>

#include "core/vec.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr std::int64_t kGroupCounters = 16;  // core/rng.h
constexpr std::int64_t kGroupNumbers = 4 * kGroupCounters;
constexpr int kGroupSteps = kGroupCounters / kLanes;
/// Groups per parallel chunk: about 20 us of drawing.
constexpr std::int64_t kGroupGrain = 512;

/// The four words of kLanes neighbouring counters.
struct Words {
  vu word[4];
};

NV_INLINE vu64 broadcast_u64(std::uint64_t x) { return x - vu64{}; }

/// One counter per 64-bit lane: each of the four words lies in the lower half of its lane, and what the upper half
/// holds does not matter, because only lower halves are multiplied.
struct Block {
  vu64 c0, c1, c2, c3;
};

NV_INLINE Block philox(vu64 counter, std::uint64_t seed) {
  const vu64 m0 = broadcast_u64(0xD2511F53u), m1 = broadcast_u64(0xCD9E8D57u);
  Block b{counter, counter >> 32, vu64{}, vu64{}};
  auto k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const vu64 p0 = multiply_low_halves(b.c0, m0), p1 = multiply_low_halves(b.c2, m1);
    b = {(p1 >> 32) ^ b.c1 ^ broadcast_u64(k0), p1, (p0 >> 32) ^ b.c3 ^ broadcast_u64(k1), p0};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return b;
}

NV_INLINE vu interleave(vu64 even, vu64 odd) { return (vu)((even & 0xffffffffu) | (odd << 32)); }

/// Words of counters first .. first + kLanes - 1.
NV_INLINE Words philox_words(std::uint64_t first, std::uint64_t seed) {
  vu64 even;
#pragma GCC unroll 8
  for (int lane = 0; lane < kLanes / 2; ++lane) even[lane] = 2u * static_cast<unsigned>(lane);
  even += broadcast_u64(first);
  const Block a = philox(even, seed), b = philox(even + 1, seed);
  return {{interleave(a.c0, b.c0), interleave(a.c1, b.c1), interleave(a.c2, b.c2), interleave(a.c3, b.c3)}};
}

/// body(words, place): `words` of one step of group `group`; word j of lane l is number place + 16 * j + l.
template <class Body>
NV_INLINE void deal_group(const std::int64_t* stream, std::int64_t group, const Body& body) {
  const auto seed = static_cast<std::uint64_t>(stream[0]);
  const std::uint64_t first =
      static_cast<std::uint64_t>(stream[1]) + static_cast<std::uint64_t>(group * kGroupCounters);
#pragma GCC unroll 4
  for (int step = 0; step < kGroupSteps; ++step)
    body(philox_words(first + static_cast<std::uint64_t>(step * kLanes), seed), step * kLanes);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
