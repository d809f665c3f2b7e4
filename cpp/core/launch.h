// SPDX-License-Identifier: BSD-3-Clause
// The only way from an op to its kernels.
//
// A thunk holds pointers and sizes by value, reads scalars that change from step to step (learning rate, dropout
// offset) through a pointer, and takes no decision from data. That makes it replayable: this is the seam where a
// training step can be captured once and run again as one native call.
#pragma once

#include <cstdint>

namespace nervure::core {

/// Work (in elements touched, or multiply-adds) above which the Python lock is given up: about 10 us.
inline constexpr std::int64_t kUnlockWork = 32 * 1024;
inline constexpr std::int64_t kAlwaysUnlock = INT64_MAX;

/// What the bindings provide so that the core can deal with the interpreter without knowing it.
struct InterpreterHooks {
  /// Give up the interpreter's lock if this thread has it; returns what lock() needs, or null.
  void* (*unlock)() = nullptr;
  void (*lock)(void* state) = nullptr;
  /// Whether the user pressed Ctrl-C (may raise inside the interpreter; see Interrupted).
  bool (*interrupted)() = nullptr;
};
extern InterpreterHooks interpreter;

/// Thrown by launch() and backward() after Ctrl-C; the bindings turn it into KeyboardInterrupt.
struct Interrupted {};

/// Flushes denormal numbers to zero while it lives, and puts the control register back.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  std::uint64_t saved_;
};

/// Ask the interpreter about Ctrl-C, at most every 100 ms; true when work must stop. Cheap enough for any loop.
bool poll_interrupt();
/// Whether chunks were skipped on this thread since the last call; clears it.
bool take_interrupted();
[[noreturn]] void throw_interrupted();

/// Gives up the interpreter's lock while it lives, when the work is worth it.
class Unlocked {
 public:
  explicit Unlocked(std::int64_t work)
      : state_(work > kUnlockWork && interpreter.unlock ? interpreter.unlock() : nullptr) {}
  ~Unlocked() {
    if (state_) interpreter.lock(state_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  void* state_;
};

template <class Thunk>
void launch(std::int64_t work, Thunk&& thunk) {
  {
    Unlocked unlocked(work);
    FlushDenormals flush;
    thunk();
  }
  if (take_interrupted()) [[unlikely]]
    throw_interrupted();
}

}  // namespace nervure::core
