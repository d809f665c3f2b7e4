// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/scan.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kTile = 64;          // columns that are passed over together
constexpr std::int64_t kChunk = 32 * 1024;  // elements to a chunk of work
constexpr int kProducts = 8;                // of one row at a time: as many as hide the latency of a multiplication

/// Neighbouring columns of one outer index; elements of a column lie `stride` apart.
struct Columns {
  std::int64_t at, out, count, stride, length;  // at: of the first element; out: in (outer, inner)
};

/// body(columns, memory) for all of them; memory takes `numbers` doubles.
template <class Body>
void for_columns(const ReduceShape& shape, std::int64_t numbers, const Body& body) {
  const std::int64_t tiles = ceil_div(shape.inner, kTile);
  const std::int64_t task = larger(shape.reduced, 1) * smaller(shape.inner, kTile);
  core::parallel_for(shape.outer * tiles, larger(1, kChunk / larger(task, 1)),
                     [&](std::int64_t begin, std::int64_t end) {
                       const core::Scratch<double> memory(static_cast<std::size_t>(numbers));
                       for (std::int64_t i = begin; i < end; ++i) {
                         const std::int64_t o = i / tiles, column = i % tiles * kTile;
                         body(Columns{o * shape.reduced * shape.inner + column, o * shape.inner + column,
                                      smaller(kTile, shape.inner - column), shape.inner, shape.reduced},
                              memory.get());
                       }
                     });
}

void set_all(double* to, std::int64_t n, double value) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = value;
}

float row_product(const float* x, std::int64_t n) {
  double part[kProducts];
#pragma GCC unroll 8
  for (int k = 0; k < kProducts; ++k) part[k] = 1.0;
  std::int64_t i = 0;
  for (; i + kProducts <= n; i += kProducts)
#pragma GCC unroll 8
    for (int k = 0; k < kProducts; ++k) part[k] *= static_cast<double>(x[i + k]);
  for (; i < n; ++i) part[0] *= static_cast<double>(x[i]);
  return static_cast<float>(((part[0] * part[1]) * (part[2] * part[3])) * ((part[4] * part[5]) * (part[6] * part[7])));
}

void row_sums(const float* x, std::int64_t n, bool from_end, float* y) {
  double total = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t at = from_end ? n - 1 - i : i;
    total += static_cast<double>(x[at]);
    y[at] = static_cast<float>(total);
  }
}

// ---- the largest ----------------------------------------------------------------------------------------------------

/// A number whose order is that of the elements: by value, and the first of equals the largest.
NV_INLINE std::uint64_t key_of(float value, std::int64_t index, bool largest) {
  const float x = value + 0.0f;  // -0 is 0
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = x != x ? ~0u : bits >> 31 ? ~bits : bits | 0x80000000u;
  if (!largest) bits = ~bits;
  return static_cast<std::uint64_t>(bits) << 32 | (0xffffffffu - static_cast<std::uint32_t>(index));
}

/// Puts `key` at the root of a heap with its smallest at the root.
NV_INLINE void sift(std::uint64_t* heap, std::int64_t n, std::int64_t at, std::uint64_t key) {
  for (std::int64_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
    if (child + 1 < n && heap[child + 1] < heap[child]) ++child;
    if (heap[child] >= key) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = key;
}

void top_of_row(const float* x, std::int64_t n, std::int64_t k, bool largest, bool sorted, std::uint64_t* heap,
                std::int64_t* index) {
  for (std::int64_t i = 0; i < k; ++i) heap[i] = key_of(x[i], i, largest);
  for (std::int64_t i = k / 2 - 1; i >= 0; --i) sift(heap, k, i, heap[i]);
  for (std::int64_t i = k; i < n; ++i) {
    const std::uint64_t key = key_of(x[i], i, largest);
    if (key > heap[0]) sift(heap, k, 0, key);
  }
  for (std::int64_t left = sorted ? k - 1 : 0; left > 0; --left) {  // the smallest of the heap goes to its end
    const std::uint64_t last = heap[left];
    heap[left] = heap[0];
    sift(heap, left, 0, last);
  }
  for (std::int64_t i = 0; i < k; ++i) index[i] = 0xffffffff - static_cast<std::int64_t>(heap[i] & 0xffffffffu);
}

}  // namespace

void running_sum(ReduceShape shape, const float* x, bool from_end, float* y) {
  for_columns(shape, kTile, [=](const Columns& c, double* total) {
    if (c.stride == 1) return row_sums(x + c.at, c.length, from_end, y + c.at);
    set_all(total, c.count, 0.0);
    for (std::int64_t r = 0; r < c.length; ++r) {
      const std::int64_t at = c.at + (from_end ? c.length - 1 - r : r) * c.stride;
      for (std::int64_t i = 0; i < c.count; ++i) {
        total[i] += static_cast<double>(x[at + i]);
        y[at + i] = static_cast<float>(total[i]);
      }
    }
  });
}

void reduce_product(ReduceShape shape, const float* x, float* y) {
  for_columns(shape, kTile, [=](const Columns& c, double* total) {
    if (c.stride == 1) {
      y[c.out] = row_product(x + c.at, c.length);
      return;
    }
    set_all(total, c.count, 1.0);
    for (std::int64_t r = 0; r < c.length; ++r)
      for (std::int64_t i = 0; i < c.count; ++i) total[i] *= static_cast<double>(x[c.at + r * c.stride + i]);
    for (std::int64_t i = 0; i < c.count; ++i) y[c.out + i] = static_cast<float>(total[i]);
  });
}

void reduce_product_backward(ReduceShape shape, const float* x, const float* dy, float* dx) {
  const std::int64_t width = smaller(kTile, shape.inner);
  for_columns(shape, (shape.reduced + 1) * width, [=](const Columns& c, double* before) {
    double* const product = before + c.length * width;  // of what lies before, then of what lies behind
    set_all(product, c.count, 1.0);
    for (std::int64_t r = 0; r < c.length; ++r)
      for (std::int64_t i = 0; i < c.count; ++i) {
        before[r * width + i] = product[i];
        product[i] *= static_cast<double>(x[c.at + r * c.stride + i]);
      }
    for (std::int64_t i = 0; i < c.count; ++i) product[i] = static_cast<double>(dy[c.out + i]);
    for (std::int64_t r = c.length - 1; r >= 0; --r)
      for (std::int64_t i = 0; i < c.count; ++i) {
        const std::int64_t at = c.at + r * c.stride + i;
        dx[at] = static_cast<float>(before[r * width + i] * product[i]);
        product[i] *= static_cast<double>(x[at]);
      }
  });
}

void top_indices(std::int64_t rows, std::int64_t n, const float* x, std::int64_t k, bool largest, bool sorted,
                 std::int64_t* index) {
  core::parallel_for(rows, larger(1, kChunk / n), [=](std::int64_t begin, std::int64_t end) {
    const core::Scratch<std::uint64_t> heap(static_cast<std::size_t>(k));
    for (std::int64_t row = begin; row < end; ++row)
      top_of_row(x + row * n, n, k, largest, sorted, heap.get(), index + row * k);
  });
}

}  // namespace nervure::kernels::NV_ISA
