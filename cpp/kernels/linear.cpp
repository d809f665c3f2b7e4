// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/linear.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kElements = 16 * 1024;           // to a chunk
constexpr std::int64_t kFewRows = 32, kManyRows = 256;  // to a block of sums
constexpr std::int64_t kColumns = 2048;                 // to a chunk
constexpr std::int64_t kCopied = 1024;                  // elements that stay in the first-level cache

constexpr std::int64_t kGroup = 4;  // rows that are added to the sums of a block at once

struct Part {
  std::int64_t columns, stride;
  const float *dy, *saved;
  float *dz, *db;  // db: the sums of this block of rows, or null
};

/// `rows` rows side by side: memory is read in the order in which it lies.
template <Activation Name>
NV_INLINE void run_rows(const Part& p, std::int64_t row, std::int64_t rows) {
  for_vectors(0, p.columns, [&](std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
    vf total = p.db && row > 0 ? load_some(p.db + j, count) : vf{};
    for (std::int64_t at = row * p.stride + j, r = 0; r < rows; ++r, at += p.stride) {
      __builtin_prefetch(p.dy + at + kGroup * p.stride);
      vf d = load_some(p.dy + at, count);
      if (Name != Activation::none) {
        __builtin_prefetch(p.saved + at + kGroup * p.stride);
        d = activation_backward(Name, d, load_some(p.saved + at, count));
      }
      if (p.dz) store_some(p.dz + at, d, count);
      total += d;
    }
    if (p.db) store_some(p.db + j, total, count);
  });
}

template <Activation Name>
void run_block(const Part& p, std::int64_t rows) {
  for (std::int64_t row = 0; row < rows; row += kGroup) run_rows<Name>(p, row, smaller(kGroup, rows - row));
}

void run_block(Activation activation, const Part& p, std::int64_t rows) {
  switch (activation) {
    case Activation::none:
      return run_block<Activation::none>(p, rows);
    case Activation::relu:
      return run_block<Activation::relu>(p, rows);
    case Activation::leaky_relu:
      return run_block<Activation::leaky_relu>(p, rows);
    case Activation::elu:
      return run_block<Activation::elu>(p, rows);
    case Activation::gelu:
      return run_block<Activation::gelu>(p, rows);
    case Activation::gelu_tanh:
      return run_block<Activation::gelu_tanh>(p, rows);
    case Activation::silu:
      return run_block<Activation::silu>(p, rows);
    case Activation::tanh:
      return run_block<Activation::tanh>(p, rows);
    case Activation::sigmoid:
      return run_block<Activation::sigmoid>(p, rows);
    case Activation::softplus:
      return run_block<Activation::softplus>(p, rows);
    case Activation::hardtanh:
      return run_block<Activation::hardtanh>(p, rows);
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
    if (y == z) return activate_rows(activation, 1, end - begin, y + begin, 0);
    for (std::int64_t i = begin; i < end; i += kCopied) {
      const std::int64_t count = smaller(kCopied, end - i);
      std::memcpy(y + i, z + i, static_cast<std::size_t>(count) * sizeof(float));
      activate_rows(activation, 1, count, y + i, 0);
    }
  });
}

void linear_epilogue_backward(Activation activation, std::int64_t rows, std::int64_t columns, const float* dy,
                              const float* saved, float* dz, float* db) {
  if (rows == 0 && db) std::memset(db, 0, static_cast<std::size_t>(columns) * sizeof(float));
  if (rows == 0 || columns == 0) return;
  const std::int64_t width = smaller(columns, kColumns), across = ceil_div(columns, width);
  const std::int64_t height = larger(kFewRows, smaller(kManyRows, kElements / width)), blocks = ceil_div(rows, height);
  const bool several = db && blocks > 1;
  const core::Scratch<float> scratch(static_cast<std::size_t>(several ? blocks * columns : 1));
  float* const sums = several ? scratch.get() : db;
  core::parallel_chunks(blocks * across, [=](std::int64_t chunk) {
    const std::int64_t block = chunk / across, begin = (chunk - block * across) * width;
    const std::int64_t at = block * height * columns + begin;
    const Part part{smaller(width, columns - begin),
                    columns,
                    dy + at,
                    saved ? saved + at : nullptr,
                    dz ? dz + at : nullptr,
                    db ? sums + block * columns + begin : nullptr};
    run_block(activation, part, smaller(height, rows - block * height));
  });
  if (several) add_blocks(sums, blocks, columns, db);
}

}  // namespace nervure::kernels::NV_ISA
