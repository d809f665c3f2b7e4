// SPDX-License-Identifier: BSD-3-Clause
// Working memory for kernels, from the storage pool: packed panels, partial sums. 64-byte aligned, not initialised.
#pragma once

#include <cstddef>

#include "core/dispatch.h"

namespace nervure::core {

void* acquire_scratch(std::size_t bytes);
void release_scratch(void* block);

namespace {

template <class T>
class Scratch {
 public:
  explicit inline Scratch(std::size_t count) : block_(acquire_scratch(count * sizeof(T))) {}
  inline ~Scratch() { release_scratch(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  inline T* get() const { return static_cast<T*>(block_); }

 private:
  void* block_;
};

}  // namespace
}  // namespace nervure::core
