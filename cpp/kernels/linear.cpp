// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/linear.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

constexpr std::int64_t kElements = 16 * 1024;  // to a chunk
constexpr std::int64_t kRows = 256;            // to a block of sums
constexpr int kVectors = 4;                    // columns in registers: 4 sums hide the latency of an addition

NV_INLINE vf load_some(const float* p, std::int64_t count) {
  return count == kLanes ? load(p) : load_partial(p, count);
}
NV_INLINE void store_some(float* p, vf v, std::int64_t count) {
  if (count == kLanes)
    store(p, v);
  else
    store_partial(p, v, count);
}

struct Columns {
  std::int64_t rows, stride;
  const float *dy, *saved;
  float *dz, *db;  // db: where the sums of this block of rows go, or null
};

/// `Vectors` vectors of columns, the last of `last` columns.
template <Activation Name, int Vectors>
NV_INLINE void run_columns(const Columns& c, std::int64_t j, std::int64_t last) {
  vf total[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) total[v] = vf{};
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const std::int64_t at = i * c.stride + j;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const std::int64_t count = v == Vectors - 1 ? last : kLanes;
      vf d = load_some(c.dy + at + v * kLanes, count);
      if (Name != Activation::none) d = activation_backward(Name, d, load_some(c.saved + at + v * kLanes, count));
      if (c.dz) store_some(c.dz + at + v * kLanes, d, count);
      total[v] += d;
    }
  }
  if (!c.db) return;
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) store_some(c.db + j + v * kLanes, total[v], v == Vectors - 1 ? last : kLanes);
}

template <Activation Name>
void run_block(const Columns& c, std::int64_t begin, std::int64_t end) {
  std::int64_t j = begin;
  for (; j + kVectors * kLanes <= end; j += kVectors * kLanes) run_columns<Name, kVectors>(c, j, kLanes);
  for (; j < end; j += kLanes) run_columns<Name, 1>(c, j, end - j < kLanes ? end - j : kLanes);
}

void run_block(Activation activation, const Columns& c, std::int64_t begin, std::int64_t end) {
  switch (activation) {
    case Activation::none:
      return run_block<Activation::none>(c, begin, end);
    case Activation::relu:
      return run_block<Activation::relu>(c, begin, end);
    case Activation::leaky_relu:
      return run_block<Activation::leaky_relu>(c, begin, end);
    case Activation::elu:
      return run_block<Activation::elu>(c, begin, end);
    case Activation::gelu:
      return run_block<Activation::gelu>(c, begin, end);
    case Activation::gelu_tanh:
      return run_block<Activation::gelu_tanh>(c, begin, end);
    case Activation::silu:
      return run_block<Activation::silu>(c, begin, end);
    case Activation::tanh:
      return run_block<Activation::tanh>(c, begin, end);
    case Activation::sigmoid:
      return run_block<Activation::sigmoid>(c, begin, end);
    case Activation::softplus:
      return run_block<Activation::softplus>(c, begin, end);
    case Activation::hardtanh:
      return run_block<Activation::hardtanh>(c, begin, end);
  }
}

void add_blocks(const float* sums, std::int64_t blocks, std::int64_t columns, float* db) {
  for (std::int64_t j = 0; j < columns; j += kLanes) {
    const std::int64_t count = columns - j < kLanes ? columns - j : kLanes;
    vf total{};
    for (std::int64_t b = 0; b < blocks; ++b) total += load_some(sums + b * columns + j, count);
    store_some(db + j, total, count);
  }
}

}  // namespace

void linear_activation(Activation activation, std::int64_t n, const float* z, float* y) {
  core::parallel_for(n, kElements, [=](std::int64_t begin, std::int64_t end) {
    if (y != z) std::memcpy(y + begin, z + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
    activate_rows(activation, 1, end - begin, y + begin, 0);
  });
}

void linear_epilogue_backward(Activation activation, std::int64_t rows, std::int64_t columns, const float* dy,
                              const float* saved, float* dz, float* db) {
  if (columns == 0) return;
  const std::int64_t blocks = rows > 0 ? (rows + kRows - 1) / kRows : 1;
  const std::int64_t height = rows < kRows ? rows : kRows;
  const std::int64_t fitting = kElements / (height + 1) / (kVectors * kLanes) * (kVectors * kLanes);
  const std::int64_t width = fitting > kVectors * kLanes ? fitting : kVectors * kLanes;
  const std::int64_t across = (columns + width - 1) / width;
  const bool several = db && blocks > 1;
  const core::Scratch<float> scratch(static_cast<std::size_t>(several ? blocks * columns : 1));
  float* const sums = several ? scratch.get() : db;
  core::parallel_chunks(blocks * across, [=](std::int64_t chunk) {
    const std::int64_t block = chunk / across, begin = (chunk - block * across) * width;
    const std::int64_t first = block * kRows, at = first * columns;
    const Columns part{rows - first < kRows ? rows - first : kRows,
                       columns,
                       dy + at,
                       saved ? saved + at : nullptr,
                       dz ? dz + at : nullptr,
                       db ? sums + block * columns : nullptr};
    run_block(activation, part, begin, begin + width < columns ? begin + width : columns);
  });
  if (several) add_blocks(sums, blocks, columns, db);
}

}  // namespace nervure::kernels::NV_ISA
