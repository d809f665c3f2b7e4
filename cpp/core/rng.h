// SPDX-License-Identifier: BSD-3-Clause
// Counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011):
// number i of a stream is a function of (seed, offset, i) alone, so results do not depend on threads or order.
#pragma once

#include <cstdint>

namespace nervure::core {

/// One reservation of the generator: everything a kernel needs to draw its numbers, and to draw them again.
struct RngStream {
  std::uint64_t seed;
  std::uint64_t offset;  // of the first block of four numbers
};

void manual_seed(std::uint64_t seed);
std::uint64_t initial_seed();
/// Reserve numbers for `count` elements (four to a block) and move the generator on. Thread-safe.
RngStream reserve_random(std::int64_t count);
/// For checkpoints.
RngStream rng_state();
void set_rng_state(RngStream state);

}  // namespace nervure::core
