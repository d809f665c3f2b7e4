// SPDX-License-Identifier: BSD-3-Clause
// A small pool of workers that never holds anybody up: the caller works itself, and waits only for workers that are
// inside a chunk, never for one that has not been given a core. bench/: alternating with another library's threads or
// another process costs nothing, where OpenMP's barrier waits for the operating system's next tick (4 ms).
#pragma once

#include <atomic>
#include <cstdint>

#include "core/spin_lock.h"

namespace nervure::core {

class ThreadPool {
 public:
  static ThreadPool& instance();

  using Work = void (*)(void* job, bool is_caller);
  /// work(job, ...) on this thread and on up to threads-1 workers; returns when all of them have returned from it.
  /// While another thread is in here, work runs on the calling thread alone.
  void run(Work work, void* job, int threads);

 private:
  ThreadPool() = default;
  static void install_fork_handler();
  void start_workers(int count);
  void worker_loop(int index);
  bool try_enter(int index);
  void leave();
  void wait_until_left();
  std::uint32_t wait_for_job(std::uint32_t seen);

  // epoch << 16 | open << 15 | workers inside
  static constexpr std::uint64_t kOpen = std::uint64_t{1} << 15;
  static constexpr std::uint64_t kInside = kOpen - 1;

  SpinLock busy_;
  std::atomic<std::uint64_t> state_{0};
  std::atomic<std::uint32_t> posted_{0};  // changes with every job: what sleeping workers wait on
  std::atomic<int> sleeping_{0};
  int started_ = 0;      // workers, under busy_
  Work work_ = nullptr;  // these three belong to the open job
  void* job_ = nullptr;
  int limit_ = 0;  // workers with a higher index stay out
};

}  // namespace nervure::core
