// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/recurrent_split.h"

#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 200'000;        // multiplications
constexpr std::int64_t kLongest = 500'000'000;  // of one chunk: below 100 ms on the slowest instruction set
// Of one region, for all rows: one thread goes through the chunks of rows in turns, while their steps are near.
constexpr std::int64_t kRegion = 8'000'000;
constexpr std::int64_t kFewRows = 16;   // to a chunk of rows, two tiles
constexpr std::int64_t kTwoChunks = 8;  // rows that are cut in two: half a tile each
// Floats: read by every chunk of rows at every step, they would come from the third-level cache each time.
constexpr std::int64_t kLargeWeights = 150'000;
constexpr std::int64_t kMostChunks = 8;  // of a step

}  // namespace

Split split_steps(const Sequence& sequence, std::int64_t work, std::int64_t panels, bool by_units) {
  const std::int64_t step_work = work * sequence.batch;
  if (by_units && step_work >= kChunk / 2 && (sequence.batch < kFewRows || work > kLargeWeights)) {
    const std::int64_t chunks = smaller(panels, smaller(larger(step_work / kChunk, 2), kMostChunks));
    return {true, ceil_div(panels, chunks), sequence.batch, 1, work};
  }
  const std::int64_t rows = smaller(sequence.batch, kFewRows);
  const std::int64_t steps = smaller(kLongest / larger(work * rows, 1), kRegion / larger(step_work, 1));
  return {false, panels, rows, larger(steps, 1), work};
}

std::int64_t memory_of_row_chunks(const Sequence& sequence) { return sequence.batch / kTwoChunks + 3; }

void RowChunks::cut(std::int64_t begin, std::int64_t end) {
  const std::int64_t total = s_.offset[end] - s_.offset[begin];  // rows times steps
  const std::int64_t rows = ceil_div(total, larger(end - begin, 1));
  count_ = 1;
  if (total * split_.work > 2 * kChunk) count_ = larger(ceil_div(rows, kFewRows), rows >= kTwoChunks ? 2 : 1);
  bounds_[0] = 0;
  std::int64_t chunk = 1, done = 0, length = end - begin;
  for (std::int64_t j = 0; chunk < count_; ++j) {
    while (s_.active[begin + length - 1] <= j) --length;  // the steps at which row j runs
    done += length;
    if (done * count_ >= chunk * total) bounds_[chunk++] = j + 1;
  }
  bounds_[count_] = s_.batch;
}

}  // namespace nervure::kernels::NV_ISA
