// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/elementwise.h"

#include <cstring>

namespace nervure::kernels::NV_ISA {
namespace {

/// Elements per block: inputs that are not dense are expanded into buffers of this length, which stay in L1.
constexpr std::int64_t kBlock = 1024;
/// Rows from here on are worked on one by one, shorter ones several to a block.
constexpr std::int64_t kLongRow = 512;

template <class T>
void expand_typed(void* target, const void* source, std::int64_t stride, std::int64_t n) {
  auto* to = static_cast<T*>(target);
  auto* from = static_cast<const T*>(source);
  if (stride == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
  } else if (stride == 0) {
    const T value = *from;
    for (std::int64_t i = 0; i < n; ++i) to[i] = value;
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

/// target[i] = source[i * stride] for elements of `bytes` bytes.
void expand(void* target, const void* source, std::int64_t stride, std::int64_t n, std::int64_t bytes) {
  if (bytes == 4) return expand_typed<std::uint32_t>(target, source, stride, n);
  if (bytes == 8) return expand_typed<std::uint64_t>(target, source, stride, n);
  expand_typed<std::uint8_t>(target, source, stride, n);
}

struct Buffers {
  alignas(64) char data[kMaxInputs][kBlock * 8];
};

/// Where the current row of every input starts.
struct Cursor {
  const Loops& loops;
  const int outer;  // loops that count rows
  std::int64_t index[kMaxLoops] = {};
  std::int64_t offset[kMaxInputs] = {};

  Cursor(const Loops& all, std::int64_t row) : loops(all), outer(all.rank - 1) {
    for (int j = outer - 1; j >= 0 && row > 0; --j) {
      index[j] = row % loops.size[j];
      row /= loops.size[j];
      for (int k = 0; k < kMaxInputs; ++k) offset[k] += index[j] * loops.stride[k][j];
    }
  }
  void next_row() {
    for (int j = outer - 1; j >= 0; --j) {
      for (int k = 0; k < kMaxInputs; ++k) offset[k] += loops.stride[k][j];
      if (++index[j] < loops.size[j]) return;
      for (int k = 0; k < kMaxInputs; ++k) offset[k] -= loops.stride[k][j] * loops.size[j];
      index[j] = 0;
    }
  }
};

const void* element(const void* base, std::int64_t offset, std::int64_t bytes) {
  return static_cast<const char*>(base) + offset * bytes;
}

/// n elements of one row: inputs start at `start` and advance by `stride`.
void run_row(const ElementwiseJob& job, const void* const* start, const std::int64_t* stride, void* output,
             std::int64_t n, Buffers& buffers) {
  bool dense = true;
  const void* at[kMaxInputs] = {};
  for (int k = 0; k < job.n_inputs; ++k) {
    dense &= stride[k] == 1;
    at[k] = start[k];
    if (stride[k] != 0) continue;
    expand(buffers.data[k], start[k], 0, n < kBlock ? n : kBlock, job.input_bytes[k]);
    at[k] = buffers.data[k];
  }
  if (dense) return job.function(at, output, n);
  for (std::int64_t i = 0; i < n; i += kBlock) {
    const std::int64_t count = n - i < kBlock ? n - i : kBlock;
    for (int k = 0; k < job.n_inputs; ++k) {
      if (stride[k] == 0) continue;
      at[k] = element(start[k], i * stride[k], job.input_bytes[k]);
      if (stride[k] == 1) continue;
      expand(buffers.data[k], at[k], stride[k], count, job.input_bytes[k]);
      at[k] = buffers.data[k];
    }
    job.function(at, static_cast<char*>(output) + i * job.output_bytes, count);
  }
}

/// Rows of kLongRow elements and more, cut into segments where they are longer than kGrain.
void run_long_rows(const ElementwiseJob& job, const Loops& loops) {
  const int last = loops.rank - 1;
  const std::int64_t length = loops.size[last];
  const std::int64_t rows = loops.numel() / length;
  const std::int64_t segments = (length + kGrain - 1) / kGrain;
  const std::int64_t per_chunk = length < kGrain ? kGrain / length : 1;
  core::parallel_for(rows * segments, per_chunk, [&](std::int64_t begin, std::int64_t end) {
    Buffers buffers;
    Cursor cursor(loops, begin / segments);
    std::int64_t stride[kMaxInputs];
    for (int k = 0; k < kMaxInputs; ++k) stride[k] = loops.stride[k][last];
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t row = unit / segments, from = unit % segments * kGrain;
      const std::int64_t n = length - from < kGrain ? length - from : kGrain;
      const void* start[kMaxInputs] = {};
      for (int k = 0; k < job.n_inputs; ++k)
        start[k] = element(job.input[k], cursor.offset[k] + from * stride[k], job.input_bytes[k]);
      run_row(job, start, stride, static_cast<char*>(job.output) + (row * length + from) * job.output_bytes, n,
              buffers);
      if (from + n == length) cursor.next_row();
    }
  });
}

/// How an input lies relative to blocks of whole rows.
enum class Pattern { dense, repeated, general };

Pattern pattern_of(const Loops& loops, int k) {
  std::int64_t dense_stride = 1;
  bool dense = true, repeated = true;
  for (int j = loops.rank - 1; j >= 0; --j) {
    dense &= loops.stride[k][j] == dense_stride;
    dense_stride *= loops.size[j];
    repeated &= j == loops.rank - 1 || loops.stride[k][j] == 0;
  }
  return dense ? Pattern::dense : repeated ? Pattern::repeated : Pattern::general;
}

struct Patterns {
  Pattern of[kMaxInputs] = {};
  bool any_general = false;

  Patterns(const Loops& loops, int n_inputs) {
    for (int k = 0; k < n_inputs; ++k) {
      of[k] = pattern_of(loops, k);
      any_general |= of[k] == Pattern::general;
    }
  }
};

/// Rows begin .. end-1 in blocks of block_rows; an input repeated in every row is expanded once.
void run_row_blocks(const ElementwiseJob& job, const Loops& loops, const Patterns& pattern, std::int64_t begin,
                    std::int64_t end, std::int64_t block_rows) {
  const int last = loops.rank - 1;
  const std::int64_t length = loops.size[last];
  Buffers buffers;
  Cursor cursor(loops, begin);
  auto expand_row = [&](int k, std::int64_t row) {
    const std::int64_t bytes = job.input_bytes[k];
    expand(buffers.data[k] + row * length * bytes, element(job.input[k], cursor.offset[k], bytes),
           loops.stride[k][last], length, bytes);
  };
  const std::int64_t most = end - begin < block_rows ? end - begin : block_rows;
  for (int k = 0; k < job.n_inputs; ++k)
    if (pattern.of[k] == Pattern::repeated)
      for (std::int64_t row = 0; row < most; ++row) expand_row(k, row);
  for (std::int64_t first = begin; first < end; first += block_rows) {
    const std::int64_t count = end - first < block_rows ? end - first : block_rows;
    if (pattern.any_general)
      for (std::int64_t row = 0; row < count; ++row, cursor.next_row())
        for (int k = 0; k < job.n_inputs; ++k)
          if (pattern.of[k] == Pattern::general) expand_row(k, row);
    const void* at[kMaxInputs] = {};
    for (int k = 0; k < job.n_inputs; ++k)
      at[k] =
          pattern.of[k] == Pattern::dense ? element(job.input[k], first * length, job.input_bytes[k]) : buffers.data[k];
    job.function(at, static_cast<char*>(job.output) + first * length * job.output_bytes, count * length);
  }
}

/// Short rows: blocks of as many whole rows as fit.
void run_short_rows(const ElementwiseJob& job, const Loops& loops, const Patterns& pattern) {
  const std::int64_t length = loops.size[loops.rank - 1];
  const std::int64_t block_rows = kBlock / length;
  const std::int64_t per_chunk = kGrain / (block_rows * length) * block_rows;
  core::parallel_for(loops.numel() / length, per_chunk, [&](std::int64_t begin, std::int64_t end) {
    run_row_blocks(job, loops, pattern, begin, end, block_rows);
  });
}

/// One block: no division anywhere, each would cost as much as the work.
void run_block(const ElementwiseJob& job, const Loops& loops) {
  std::int64_t rows = 1;
  for (int j = 0; j + 1 < loops.rank; ++j) rows *= loops.size[j];
  run_row_blocks(job, loops, Patterns(loops, job.n_inputs), 0, rows, rows);
}

}  // namespace

void run_elementwise(const ElementwiseJob& job, const Loops& loops) {
  const std::int64_t n = loops.numel();
  if (n == 0) return;
  if (loops.rank == 0) return job.function(job.input, job.output, 1);
  if (n <= kBlock) return run_block(job, loops);
  if (loops.rank == 1 || loops.size[loops.rank - 1] >= kLongRow) return run_long_rows(job, loops);
  run_short_rows(job, loops, Patterns(loops, job.n_inputs));
}

}  // namespace nervure::kernels::NV_ISA
