// SPDX-License-Identifier: BSD-3-Clause
// How the steps of one direction are cut into regions and chunks, by shape alone. For the kernel files of recurrent
// layers.
#pragma once

#include <cstdint>

#include "kernels/recurrent.h"

namespace nervure::kernels::NV_ISA {

/// Steps in the order of the pass: forward in time, or backward.
struct Walk {
  std::int64_t steps;
  bool backward;
  std::int64_t at(std::int64_t i) const { return backward ? steps - 1 - i : i; }
};

struct Split {
  bool units;           // of a step, one region for each; otherwise rows, one region for many steps
  std::int64_t panels;  // to a chunk of units
  std::int64_t rows;    // that a chunk has at most, but for rounding
  std::int64_t steps;   // to a region of rows: keeps a chunk below 100 ms
  std::int64_t work;    // multiplications with one row at one step
};
/// `panels` of the recurrent product.
Split split_steps(const Sequence& sequence, std::int64_t work, std::int64_t panels, bool by_units);

std::int64_t memory_of_row_chunks(const Sequence& sequence);

/// The rows of a region of steps, in chunks of equal sums of steps: the longest rows come first, and an even cut would
/// leave all long ones to one thread.
class RowChunks {
 public:
  /// `memory`: memory_of_row_chunks() numbers.
  RowChunks(const Sequence& sequence, const Split& split, std::int64_t* memory)
      : s_(sequence), split_(split), bounds_(memory) {}
  /// For steps [begin, end) in time.
  void cut(std::int64_t begin, std::int64_t end);
  std::int64_t count() const { return count_; }
  std::int64_t first(std::int64_t chunk) const { return bounds_[chunk]; }
  std::int64_t last(std::int64_t chunk) const { return bounds_[chunk + 1]; }

 private:
  const Sequence& s_;
  const Split& split_;
  std::int64_t* bounds_;
  std::int64_t count_ = 1;
};

}  // namespace nervure::kernels::NV_ISA
