// SPDX-License-Identifier: BSD-3-Clause
// How many threads: what the user says, else what the operating system lets this process have.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/check.h"
#include "core/parallel.h"

namespace nervure::core {
namespace {

struct ThreadCount {
  int threads;
  const char* source;
};

/// The first number of an environment variable (OMP_NUM_THREADS may be a list), or 0.
int from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text ? static_cast<int>(std::clamp(std::strtol(text, nullptr, 10), 0L, long{kMaxThreads})) : 0;
}

int from_affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

/// Processors' worth of time that the control group grants, rounded up, or 0 when unlimited.
int from_cgroup() {
  const auto processors = [](double quota, double period) {
    return static_cast<int>(std::clamp(quota / period + 0.999, 1.0, double{kMaxThreads}));
  };
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period) {
    if (quota == "max" || period <= 0) return 0;
    return processors(std::atof(quota.c_str()), period);
  }
  double v1_quota = 0;
  std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (q >> v1_quota && p >> period && v1_quota > 0 && period > 0) return processors(v1_quota, period);
  return 0;
}

ThreadCount detect() {
  for (const char* name : {"NERVURE_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int threads = from_environment(name)) return {threads, name};
  const int affinity = std::min(from_affinity(), kMaxThreads);
  const int quota = from_cgroup();
  if (quota && quota < affinity) return {quota, "cgroup quota"};
  return {affinity, "affinity"};
}

const ThreadCount& detected() {
  static const ThreadCount count = detect();
  return count;
}

std::atomic<int> chosen{0};  // by set_num_threads; 0: not set

}  // namespace

int num_threads() {
  const int threads = chosen.load(std::memory_order_relaxed);
  return threads ? threads : detected().threads;
}

const char* num_threads_source() {
  return chosen.load(std::memory_order_relaxed) ? "set_num_threads" : detected().source;
}

void set_num_threads(int threads) {
  NV_CHECK(threads >= 1 && threads <= kMaxThreads, "set_num_threads", "expected 1 to ", kMaxThreads, ", got ", threads);
  chosen.store(threads, std::memory_order_relaxed);
}

}  // namespace nervure::core
