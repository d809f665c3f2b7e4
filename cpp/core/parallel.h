// SPDX-License-Identifier: BSD-3-Clause
// The only door to threads. Work is cut into chunks by its shape, never by the number of threads, and chunks are
// claimed dynamically: results do not depend on the thread count, and a late worker holds nobody up.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::core {

/// Threads a parallel region may use, the calling one included.
int num_threads();
/// Throws std::invalid_argument below 1 or above kMaxThreads.
void set_num_threads(int threads);
inline constexpr int kMaxThreads = 256;
/// Where the number came from: "NERVURE_NUM_THREADS", "OMP_NUM_THREADS", "affinity", "cgroup quota", "set_num_threads".
const char* num_threads_source();
/// "pool" or "openmp" (NERVURE_THREADING).
const char* threading_backend();

/// One chunk of a job; may run on any thread, in any order.
using ChunkFunction = void (*)(const void* job, std::int64_t chunk);
/// Run chunks 0 .. n_chunks-1 and return when all are done. Nested calls run serially. Throws
/// std::bad_alloc when a chunk found no scratch memory, nothing else: when the user interrupts (Ctrl-C), chunks not yet
/// begun are skipped, and take_interrupted() (launch.h) says so.
void run_chunks(ChunkFunction function, const void* job, std::int64_t n_chunks);

}  // namespace nervure::core

// Each instruction set instantiates its own copies (internal linkage): see dispatch.h.
namespace nervure::core {
namespace {

/// body(chunk) for every chunk, always one call per chunk: for reductions, whose partial results are per chunk.
template <class Body>
inline void parallel_chunks(std::int64_t n_chunks, const Body& body) {
  if (n_chunks <= 0) return;
  if (n_chunks == 1) return body(std::int64_t{0});
  run_chunks([](const void* job, std::int64_t chunk) { (*static_cast<const Body*>(job))(chunk); }, &body, n_chunks);
}

/// body(begin, end) over [0, n) in pieces of `grain` (the last one shorter); one call when n <= grain.
template <class Body>
inline void parallel_for(std::int64_t n, std::int64_t grain, const Body& body) {
  if (n <= 0) return;
  if (n <= grain) return body(std::int64_t{0}, n);
  parallel_chunks((n + grain - 1) / grain, [&](std::int64_t chunk) {
    const std::int64_t begin = chunk * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

}  // namespace
}  // namespace nervure::core
