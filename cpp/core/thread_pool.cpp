// SPDX-License-Identifier: BSD-3-Clause
#include "core/thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <mutex>
#include <thread>

namespace nervure::core {
namespace {

// Long enough to bridge the serial stretches between the layers of a small model, short enough to leave the core to
// somebody else's threads soon after (a wake-up costs about 10 us).
constexpr auto kSpin = std::chrono::microseconds(50);

std::atomic<ThreadPool*> current{nullptr};

}  // namespace

ThreadPool& ThreadPool::instance() {
  static std::once_flag once;
  std::call_once(once, [] {
    current.store(new ThreadPool, std::memory_order_release);
    install_fork_handler();
  });
  return *current.load(std::memory_order_acquire);
}

void ThreadPool::install_fork_handler() {
  // The child has none of the workers: it starts with a fresh pool and forgets the old one.
  pthread_atfork(nullptr, nullptr, [] { current.store(new ThreadPool, std::memory_order_release); });
}

void ThreadPool::run(Work work, void* job, int threads) {
  if (!busy_.try_lock()) return work(job, /*is_caller=*/true);
  std::lock_guard guard(busy_, std::adopt_lock);
  start_workers(threads - 1);
  work_ = work;
  job_ = job;
  limit_ = threads - 1;
  const std::uint64_t epoch = (state_.load(std::memory_order_relaxed) >> 16) + 1;
  state_.store(epoch << 16 | kOpen, std::memory_order_release);
  posted_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0) posted_.notify_all();
  work(job, /*is_caller=*/true);
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  wait_until_left();
}

void ThreadPool::start_workers(int count) {
  if (started_ >= count) return;
  // Signals (Ctrl-C) belong to the interpreter's threads.
  sigset_t all, previous;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &previous);
  try {
    for (; started_ < count; ++started_) std::thread([this, index = started_] { worker_loop(index); }).detach();
  } catch (const std::exception&) {
    // No more threads, or no memory for one, to be had: fewer workers do the same work.
  }
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
}

void ThreadPool::worker_loop(int index) {
  std::uint32_t seen = 0;
  for (;;) {
    seen = wait_for_job(seen);
    if (!try_enter(index)) continue;
    work_(job_, /*is_caller=*/false);
    leave();
  }
}

std::uint32_t ThreadPool::wait_for_job(std::uint32_t seen) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      const std::uint32_t now = posted_.load(std::memory_order_acquire);
      if (now != seen) return now;
      spin_pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  sleeping_.fetch_add(1, std::memory_order_seq_cst);
  posted_.wait(seen, std::memory_order_seq_cst);
  sleeping_.fetch_sub(1, std::memory_order_relaxed);
  return posted_.load(std::memory_order_acquire);
}

bool ThreadPool::try_enter(int index) {
  std::uint64_t state = state_.load(std::memory_order_acquire);
  while (state & kOpen) {
    // Entering first, looking at the job's limit after: the job cannot be replaced while somebody is inside.
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
    if (index < limit_) return true;
    leave();
    return false;
  }
  return false;
}

void ThreadPool::leave() { state_.fetch_sub(1, std::memory_order_acq_rel); }

void ThreadPool::wait_until_left() {
  for (int spins = 0; state_.load(std::memory_order_acquire) & kInside; ++spins) {
    if (spins < 4096)
      spin_pause();
    else
      sched_yield();  // the worker inside has lost its core
  }
}

}  // namespace nervure::core
