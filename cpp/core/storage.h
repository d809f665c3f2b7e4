// SPDX-License-Identifier: BSD-3-Clause
// Memory of tensors: 64-byte aligned blocks, kept and reused from step to step, huge pages for large ones.
// First touch of fresh pages costs about 0.4 ms per MB, so a training loop must not go back to the system.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/ref.h"

namespace nervure::core {

/// A block of memory shared by the tensors (and NumPy views) that refer to it.
class Storage {
 public:
  /// At least `bytes` bytes, not initialised. Throws std::bad_alloc.
  static Ref<Storage> allocate(std::size_t bytes);

  /// Memory that belongs to somebody else; `drop(owner)` is called when nothing refers to it any more.
  static Ref<Storage> borrow(void* data, std::size_t bytes, void (*drop)(void*), void* owner);

  bool is_borrowed() const { return drop_ != nullptr; }

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  std::int32_t use_count() const { return references_.load(std::memory_order_acquire); }

  /// How often an op has written into this memory since the one that made it; counted by writes_into() (tape.h).
  std::uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  /// Not one atomic step, which would cost ten times as much: of two writes at once only one may count.
  void count_write() { version_.store(version() + 1, std::memory_order_relaxed); }

  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release();

 private:
  friend class Pool;
  std::atomic<std::int32_t> references_{0};
  std::atomic<std::uint32_t> version_{0};
  std::int32_t size_class_ = 0;
  std::size_t bytes_ = 0;     // what was asked for
  std::size_t capacity_ = 0;  // what the size class holds
  void* data_ = nullptr;
  void (*drop_)(void*) = nullptr;  // of borrowed memory
  union {
    Storage* next_ = nullptr;  // in the pool's free list
    void* owner_;              // of borrowed memory
  };
};

struct MemoryStats {
  std::size_t live_bytes;            // in use by tensors and scratch
  std::size_t peak_bytes;            // largest live_bytes so far
  std::size_t cached_bytes;          // free, kept for reuse
  std::uint64_t allocations;         // blocks handed out
  std::uint64_t system_allocations;  // of these, taken from the operating system
};

MemoryStats memory_stats();
void reset_peak_memory();
/// Return every cached block to the operating system.
void trim_memory();

}  // namespace nervure::core
