// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/index.h"

#include <cstring>

#include "core/parallel.h"
#include "core/vec.h"

namespace nervure::kernels::NV_ISA {

using namespace nervure::simd::NV_ISA;

namespace {

/// Elements moved per parallel chunk: about 10 us.
constexpr std::int64_t kGrain = 16 * 1024;

NV_INLINE std::int64_t grain_of(std::int64_t work_each) {
  return work_each < kGrain ? kGrain / (work_each > 0 ? work_each : 1) : 1;
}

/// y[i] += x[i]
NV_INLINE void add_to(float* y, const float* x, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) + load(x + i));
  for (; i < n; ++i) y[i] += x[i];
}

template <class Item>
void take_items(const TakeShape& s, const void* from, const std::int64_t* indices, void* to) {
  const auto* const x = static_cast<const Item*>(from);
  auto* const y = static_cast<Item*>(to);
  core::parallel_for(s.outer * s.count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t outer = at / s.count, first = at % s.count;
      const std::int64_t n = s.count - first < end - at ? s.count - first : end - at;
      const Item* const row = x + outer * s.size;
      for (std::int64_t i = 0; i < n; ++i) y[at + i] = row[indices[first + i]];
      at += n;
    }
  });
}

void take_runs(const TakeShape& s, std::int64_t item_bytes, const void* from, const std::int64_t* indices, void* to) {
  const auto* const x = static_cast<const char*>(from);
  auto* const y = static_cast<char*>(to);
  const std::int64_t run = s.inner * item_bytes;
  core::parallel_for(s.outer * s.count, grain_of(s.inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t outer = at / s.count, i = at % s.count;
      std::memcpy(y + at * run, x + (outer * s.size + indices[i]) * run, static_cast<std::size_t>(run));
    }
  });
}

/// Where a row of indices (all dimensions but the last) starts: in x, without the coordinate of `dim`.
NV_INLINE std::int64_t gather_base(const GatherShape& s, std::int64_t row) {
  std::int64_t base = 0;
  for (int i = s.rank - 2; i >= 0; --i) {
    if (i != s.dim) base += row % s.sizes[i] * s.strides[i];
    row /= s.sizes[i];
  }
  return base;
}

template <class Item>
void gather_items(const GatherShape& s, const void* from, const std::int64_t* indices, void* to) {
  const auto* const x = static_cast<const Item*>(from);
  auto* const y = static_cast<Item*>(to);
  const int last = s.rank - 1;
  const std::int64_t n = s.sizes[last], step = s.dim == last ? 0 : s.strides[last], along = s.strides[s.dim];
  std::int64_t rows = 1;
  for (int i = 0; i < last; ++i) rows *= s.sizes[i];
  core::parallel_for(rows, grain_of(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Item* const start = x + gather_base(s, row);
      const std::int64_t* const index = indices + row * n;
      for (std::int64_t j = 0; j < n; ++j) y[row * n + j] = start[j * step + index[j] * along];
    }
  });
}

/// The rows that may reach the same elements of x: equal in every coordinate but those of `dim` and the last one.
struct RowGroup {
  std::int64_t first_row, row_step, rows;
};

NV_INLINE RowGroup row_group(const GatherShape& s, std::int64_t group) {
  if (s.dim == s.rank - 1) return {group, 0, 1};
  std::int64_t row_step = 1;  // rows between neighbours along dim
  for (int i = s.dim + 1; i < s.rank - 1; ++i) row_step *= s.sizes[i];
  const std::int64_t before = group / row_step, after = group % row_step;
  return {before * s.sizes[s.dim] * row_step + after, row_step, s.sizes[s.dim]};
}

/// A part of a matrix with rows of `inner` elements.
struct Block {
  std::int64_t inner, column, columns, row, rows;
};

/// The block of x[indices[i]] += y[i], from zero: every block reads all indices and adds the rows that it has, in the
/// same order however x is cut.
NV_INLINE void add_rows(const Block& block, const float* y, const std::int64_t* indices, std::int64_t n, float* x) {
  for (std::int64_t row = block.row; row < block.row + block.rows; ++row)
    std::memset(x + row * block.inner + block.column, 0, static_cast<std::size_t>(block.columns) * sizeof(float));
  for (std::int64_t i = 0; i < n; ++i)
    if (indices[i] >= block.row && indices[i] < block.row + block.rows)
      add_to(x + indices[i] * block.inner + block.column, y + i * block.inner + block.column, block.columns);
}

}  // namespace

std::int64_t check_indices(const std::int64_t* indices, std::int64_t n, std::int64_t size, bool from_end,
                           std::int64_t* checked) {
  const std::int64_t wrap = from_end ? size : 0;
  std::uint64_t bad = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t index = indices[i];
    const std::int64_t at = index + (index < 0 ? wrap : 0);
    bad |= static_cast<std::uint64_t>(at < 0) | static_cast<std::uint64_t>(at >= size);
    checked[i] = at;
  }
  if (!bad) return -1;
  for (std::int64_t i = 0; i < n; ++i)
    if (checked[i] < 0 || checked[i] >= size) return i;
  return -1;
}

std::int64_t count_true(const std::uint8_t* mask, std::int64_t n) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; ++i) count += mask[i] != 0;
  return count;
}

void true_positions(const std::uint8_t* mask, std::int64_t count, std::int64_t* positions) {
  std::int64_t found = 0;
  for (std::int64_t i = 0; found < count; ++i) {
    positions[found] = i;  // stays if it was one
    found += mask[i] != 0;
  }
}

void take_forward(const TakeShape& shape, std::int64_t item_bytes, const void* x, const std::int64_t* indices,
                  void* y) {
  if (shape.inner == 1 && item_bytes == 4) return take_items<std::uint32_t>(shape, x, indices, y);
  if (shape.inner == 1 && item_bytes == 8) return take_items<std::uint64_t>(shape, x, indices, y);
  if (shape.inner == 1 && item_bytes == 1) return take_items<std::uint8_t>(shape, x, indices, y);
  take_runs(shape, item_bytes, x, indices, y);
}

void take_backward(const TakeShape& s, const float* dy, const std::int64_t* indices, float* dx) {
  constexpr std::int64_t kColumns = 64;  // four cache lines: narrow enough for many chunks
  const std::int64_t blocks = (s.inner + kColumns - 1) / kColumns;
  const std::int64_t width = s.inner < kColumns ? s.inner : kColumns;
  const std::int64_t work = (s.size + s.count) * width;
  const std::int64_t ranges = s.outer * blocks < 4 && s.inner >= 8 && work >= 4 * kGrain ? 4 : 1;
  const std::int64_t rows = (s.size + ranges - 1) / ranges;
  core::parallel_for(s.outer * blocks * ranges, grain_of(work / ranges), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t outer = unit / ranges / blocks, column = unit / ranges % blocks * kColumns;
      const std::int64_t first = unit % ranges * rows, left = s.size - first;
      add_rows({s.inner, column, s.inner - column < kColumns ? s.inner - column : kColumns, first,
                left < rows ? left : rows},
               dy + outer * s.count * s.inner, indices, s.count, dx + outer * s.size * s.inner);
    }
  });
}

void gather_forward(const GatherShape& shape, std::int64_t item_bytes, const void* x, const std::int64_t* indices,
                    void* y) {
  if (item_bytes == 4) return gather_items<std::uint32_t>(shape, x, indices, y);
  if (item_bytes == 8) return gather_items<std::uint64_t>(shape, x, indices, y);
  gather_items<std::uint8_t>(shape, x, indices, y);
}

void gather_backward(const GatherShape& s, const float* dy, const std::int64_t* indices, float* dx) {
  core::parallel_for(s.x_size, 4 * kGrain, [=](std::int64_t begin, std::int64_t end) {
    std::memset(dx + begin, 0, static_cast<std::size_t>(end - begin) * sizeof(float));
  });
  const int last = s.rank - 1;
  const std::int64_t n = s.sizes[last], step = s.dim == last ? 0 : s.strides[last], along = s.strides[s.dim];
  // Neighbours in a row reach different elements unless `dim` is the row itself: then a row must not be cut.
  const std::int64_t columns = s.dim == last ? n : 256;
  const std::int64_t blocks = columns > 0 ? (n + columns - 1) / columns : 0;
  std::int64_t groups = 1;
  for (int i = 0; i < last; ++i)
    if (i != s.dim) groups *= s.sizes[i];
  const std::int64_t rows_each = s.dim == last ? 1 : s.sizes[s.dim];
  core::parallel_for(
      groups * blocks, grain_of(rows_each * (n < columns ? n : columns)), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t unit = begin; unit < end; ++unit) {
          const RowGroup group = row_group(s, unit / blocks);
          const std::int64_t from = unit % blocks * columns, to = n - from < columns ? n : from + columns;
          for (std::int64_t i = 0; i < group.rows; ++i) {
            const std::int64_t row = group.first_row + i * group.row_step;
            float* const start = dx + gather_base(s, row);
            for (std::int64_t j = from; j < to; ++j) start[j * step + indices[row * n + j] * along] += dy[row * n + j];
          }
        }
      });
}

}  // namespace nervure::kernels::NV_ISA
