// SPDX-License-Identifier: BSD-3-Clause
#include "core/rng.h"

#include <pthread.h>

#include <mutex>
#include <random>

namespace nervure::core {
namespace {

struct Generator {
  std::mutex mutex;
  RngStream next;

  Generator() : next{draw_seed(), 0} {}

  static std::uint64_t draw_seed() {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }
};

Generator& generator() {
  // Never destroyed: threads may outlive the module. A child forked while another thread is inside must not find the
  // mutex locked.
  static Generator* const shared = [] {
    auto* made = new Generator;
    pthread_atfork([] { generator().mutex.lock(); }, [] { generator().mutex.unlock(); },
                   [] { generator().mutex.unlock(); });
    return made;
  }();
  return *shared;
}

}  // namespace

void manual_seed(std::uint64_t seed) { set_rng_state({seed, 0}); }

std::uint64_t initial_seed() { return rng_state().seed; }

RngStream reserve_random(std::int64_t count) {
  const std::uint64_t counters = (static_cast<std::uint64_t>(count) + 63) / 64 * 16;
  Generator& shared = generator();
  const std::lock_guard<std::mutex> lock(shared.mutex);
  const RngStream reserved = shared.next;
  shared.next.offset += counters;
  return reserved;
}

RngStream rng_state() {
  Generator& shared = generator();
  const std::lock_guard<std::mutex> lock(shared.mutex);
  return shared.next;
}

void set_rng_state(RngStream state) {
  Generator& shared = generator();
  const std::lock_guard<std::mutex> lock(shared.mutex);
  shared.next = state;
}

}  // namespace nervure::core
