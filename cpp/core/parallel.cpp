// SPDX-License-Identifier: BSD-3-Clause
#include "core/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/launch.h"
#include "core/thread_pool.h"

namespace nervure::core {
namespace {

thread_local bool inside_region = false;

/// Chunks of one job, claimed one at a time by whoever is free.
struct Job {
  ChunkFunction function;
  const void* data;
  std::int64_t n_chunks;
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> out_of_memory{false};

  /// Run chunks until none is left. Only the calling thread asks for Ctrl-C: the interpreter answers no other.
  void work(bool is_caller) {
    for (std::int64_t chunk; (chunk = next.fetch_add(1, std::memory_order_relaxed)) < n_chunks;) {
      try {
        function(data, chunk);
      } catch (const std::bad_alloc&) {  // scratch; told to the caller when everybody has left
        out_of_memory.store(true, std::memory_order_relaxed);
        next.store(n_chunks, std::memory_order_relaxed);
      }
      if (is_caller && poll_interrupt()) next.store(n_chunks, std::memory_order_relaxed);
    }
  }
};

void work_on(void* job, bool is_caller) {
  FlushDenormals flush;
  inside_region = true;
  static_cast<Job*>(job)->work(is_caller);
  inside_region = false;
}

void run_openmp(Job& job, int threads) {
#pragma omp parallel num_threads(threads)
  work_on(&job, omp_get_thread_num() == 0);
}

bool choose_openmp() {
  const char* choice = std::getenv("NERVURE_THREADING");
  return choice && std::strcmp(choice, "openmp") == 0;
}

/// libgomp's workers do not survive fork(), and the child would wait for them for ever: give them back before it.
void install_fork_handler() {
  pthread_atfork([] { omp_pause_resource_all(omp_pause_soft); }, nullptr, nullptr);
}

bool uses_openmp() {
  static const bool openmp = [] {
    const bool chosen = choose_openmp();
    if (chosen) install_fork_handler();
    return chosen;
  }();
  return openmp;
}

}  // namespace

const char* threading_backend() { return uses_openmp() ? "openmp" : "pool"; }

void run_chunks(ChunkFunction function, const void* data, std::int64_t n_chunks) {
  Job job{function, data, n_chunks};
  const std::int64_t threads = num_threads() < n_chunks ? num_threads() : n_chunks;
  if (threads <= 1 || inside_region) {
    // Serial. Nested regions leave the question of Ctrl-C to the outermost one.
    job.work(!inside_region);
  } else if (uses_openmp()) {
    run_openmp(job, static_cast<int>(threads));
  } else {
    ThreadPool::instance().run(work_on, &job, static_cast<int>(threads));
  }
  if (job.out_of_memory.load(std::memory_order_relaxed)) [[unlikely]]
    throw std::bad_alloc();
}

}  // namespace nervure::core
