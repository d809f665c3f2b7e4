// SPDX-License-Identifier: BSD-3-Clause
// Counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011):
// number i of a stream is a function of (seed, offset, i) alone, so results do not depend on threads or order.
//
// A counter gives four 32-bit words. Numbers are dealt in groups of 64, word by word over 16 counters, so that vectors
// of 4, 8 and 16 lanes all store them in order: number i is word (i / 16) % 4 of counter
// offset + 16 * (i / 64) + i % 16. Key: the seed. Upper half of the 128-bit counter: zero.
#pragma once

#include <cstdint>

namespace nervure::core {

/// One reservation of the generator: everything a kernel needs to draw its numbers, and to draw them again.
struct RngStream {
  std::uint64_t seed;
  std::uint64_t offset;  // of the first counter
};

/// Restart the generator: offset 0. Until the first call the seed is one that the operating system drew.
void manual_seed(std::uint64_t seed);
std::uint64_t initial_seed();
/// Reserve `count` numbers (whole groups of 64) and move the generator on. Thread-safe.
RngStream reserve_random(std::int64_t count);
/// For checkpoints.
RngStream rng_state();
void set_rng_state(RngStream state);

}  // namespace nervure::core
