// SPDX-License-Identifier: BSD-3-Clause
#include "core/launch.h"

#include <chrono>

namespace nervure::core {
namespace {

std::uint64_t read_control() {
#if defined(__x86_64__)
  return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
  std::uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return value;
#else
  return 0;
#endif
}

void write_control(std::uint64_t value) {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(static_cast<unsigned>(value));
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(value));
#else
  (void)value;
#endif
}

#if defined(__x86_64__)
constexpr std::uint64_t kFlush = 0x8040;  // FTZ: results, DAZ: operands
#elif defined(__aarch64__)
constexpr std::uint64_t kFlush = std::uint64_t{1} << 24;  // FZ
#else
constexpr std::uint64_t kFlush = 0;
#endif

using Clock = std::chrono::steady_clock;
constexpr auto kPollInterval = std::chrono::milliseconds(100);
thread_local Clock::time_point next_poll{};
thread_local bool work_was_skipped = false;

}  // namespace

InterpreterHooks interpreter;

FlushDenormals::FlushDenormals() : saved_(read_control()) {
  if ((saved_ & kFlush) != kFlush) write_control(saved_ | kFlush);
}

FlushDenormals::~FlushDenormals() {
  if ((saved_ & kFlush) != kFlush) write_control(saved_);
}

bool poll_interrupt() {
  if (work_was_skipped) return true;
  const auto now = Clock::now();
  if (now < next_poll) return false;
  next_poll = now + kPollInterval;
  work_was_skipped = interpreter.interrupted && interpreter.interrupted();
  return work_was_skipped;
}

bool take_interrupted() {
  const bool skipped = work_was_skipped;
  work_was_skipped = false;
  return skipped;
}

void throw_interrupted() { throw Interrupted{}; }

}  // namespace nervure::core
