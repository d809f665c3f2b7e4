// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/channel_norm.h"

#include "kernels/channel_columns.h"

namespace nervure::kernels::NV_ISA {
namespace {

// An instance this small is one task, whose second pass finds it in the cache; larger ones are cut into blocks.
constexpr std::int64_t kWholeInstance = 256 * 1024;
constexpr std::int64_t kChunk = 16 * 1024;

std::size_t count_of(std::int64_t n) { return static_cast<std::size_t>(n); }

/// body(instance), side by side or one after another with blocks side by side within.
template <class Body>
NV_INLINE void for_instances(const ChannelNorm& norm, const Body& body) {
  const std::int64_t size = larger(norm.instance_size(), 1);
  if (size > kWholeInstance) {
    for (std::int64_t i = 0; i < norm.instances; ++i) body(i);
    return;
  }
  core::parallel_for(norm.instances, larger(1, kChunk / size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
  });
}

// ---- statistics ----------------------------------------------------------------------------------------------------

/// Sums of a block for every channel, of x - shift and its square.
struct BlockSums {
  float *shift, *first, *second;
  static constexpr int kArrays = 3;
  BlockSums(float* base, std::int64_t channels) : shift(base), first(base + channels), second(base + 2 * channels) {}
};

/// Close to the mean of the block, so that the squares do not cancel: the mean of its first rows.
void shifts_of(const float* x, std::int64_t rows, const Fold& fold, float* shift) {
  const std::int64_t used = smaller(rows, 4);
  const float scale = 1.0f / static_cast<float>(used);
  for_vectors(0, fold.channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    vf sum{};
    for (std::int64_t r = 0; r < used; ++r) sum += load_some(x + r * fold.channels + c, count) * scale;
    store_some(shift + c, sum, count);
  });
  fold.repeat(shift);
}

void block_sums(const float* x, std::int64_t rows, const Fold& fold, const BlockSums& out) {
  const std::int64_t padded = fold.padded();
  const core::Scratch<float> scratch(count_of(3 * padded));
  float *const shift = scratch.get(), *const first = shift + padded, *const second = first + padded;
  shifts_of(x, rows, fold, shift);
  std::memset(first, 0, count_of(2 * padded) * sizeof(float));
  sweep<4>(rows * fold.channels, fold.width,
           [&]<int kRows>(RowCount<kRows>, std::int64_t at, std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
             const vf base = load(shift + j);
             vf sum{}, squares{};
#pragma GCC unroll 4
             for (int r = 0; r < kRows; ++r) {
               ask_ahead(x + at + r * fold.width);
               vf d = load_some(x + at + r * fold.width, count) - base;
               if (count != kLanes) d = first_lanes(d, count, 0.0f);
               sum += d;
               squares = fma(d, d, squares);
             }
             store(first + j, load(first + j) + sum);
             store(second + j, load(second + j) + squares);
           });
  for (std::int64_t c = 0; c < fold.channels; ++c) {
    out.shift[c] = shift[c];
    out.first[c] = static_cast<float>(fold.total(first, c));
    out.second[c] = static_cast<float>(fold.total(second, c));
  }
}

/// Mean and sum of squared deviations of every channel, from the sums of the blocks.
void combine_blocks(const RowBlocks& blocks, std::int64_t channels, float* sums, double* mean, double* squares) {
  const auto sums_of = [=](std::int64_t b) { return BlockSums(sums + b * BlockSums::kArrays * channels, channels); };
  for (std::int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0.0;
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    const BlockSums block = sums_of(b);
    const auto n = static_cast<double>(blocks.size(b));
    for (std::int64_t c = 0; c < channels; ++c)
      mean[c] += n * static_cast<double>(block.shift[c]) + static_cast<double>(block.first[c]);
  }
  const double share = 1.0 / static_cast<double>(blocks.rows);
  for (std::int64_t c = 0; c < channels; ++c) mean[c] *= share;
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    const BlockSums block = sums_of(b);
    const double n = static_cast<double>(blocks.size(b)), part = 1.0 / n;
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto first = static_cast<double>(block.first[c]);
      const double own = static_cast<double>(block.second[c]) - first * first * part;
      const double distance = static_cast<double>(block.shift[c]) + first * part - mean[c];
      squares[c] += (own < 0.0 ? 0.0 : own) + n * distance * distance;
    }
  }
}

void group_statistics(const ChannelNorm& norm, double eps, const double* mean, const double* squares,
                      std::int64_t instance, const NormStatisticsOut& out) {
  const std::int64_t size = norm.channels / norm.groups;
  const auto rows = static_cast<double>(norm.rows);
  for (std::int64_t g = 0; g < norm.groups; ++g) {
    double center = 0.0, total = 0.0;
    for (std::int64_t c = g * size; c < (g + 1) * size; ++c) center += mean[c];
    center /= static_cast<double>(size);
    for (std::int64_t c = g * size; c < (g + 1) * size; ++c)
      total += squares[c] + rows * (mean[c] - center) * (mean[c] - center);
    const double variance = total / (rows * static_cast<double>(size));
    const std::int64_t at = instance * norm.groups + g;
    out.mean[at] = static_cast<float>(center);
    out.tail[at] = static_cast<float>(center - static_cast<double>(out.mean[at]));
    out.rstd[at] = static_cast<float>(1.0 / __builtin_sqrt(variance + eps));
    if (out.variance) out.variance[at] = static_cast<float>(variance);
  }
}

void instance_statistics(const ChannelNorm& norm, const Fold& fold, const RowBlocks& blocks, double eps, const float* x,
                         std::int64_t instance, const NormStatisticsOut& out) {
  const std::int64_t channels = norm.channels;
  const core::Scratch<float> sums(count_of(blocks.count * BlockSums::kArrays * channels));
  float* const base = sums.get();
  core::parallel_chunks(blocks.count, [&](std::int64_t b) {
    block_sums(x + blocks.first(b) * channels, blocks.size(b), fold,
               BlockSums(base + b * BlockSums::kArrays * channels, channels));
  });
  const core::Scratch<double> moments(count_of(2 * channels));
  combine_blocks(blocks, channels, base, moments.get(), moments.get() + channels);
  group_statistics(norm, eps, moments.get(), moments.get() + channels, instance, out);
}

// ---- forward -------------------------------------------------------------------------------------------------------

/// y = (x - center) scale + offset, one value per column.
struct Affine {
  static constexpr int kArrays = 3;
  float *center, *scale, *offset;

  Affine(const ChannelNorm& norm, const Fold& fold, const NormStatistics& statistics, std::int64_t instance,
         float* base)
      : center(base), scale(base + fold.padded()), offset(base + 2 * fold.padded()) {
    const std::int64_t size = norm.channels / norm.groups;
    for (std::int64_t c = 0; c < norm.channels; ++c) {
      const std::int64_t at = instance * norm.groups + (size == 1 ? c : c / size);
      center[c] = statistics.mean[at];
      scale[c] = statistics.rstd[at] * (norm.weight ? norm.weight[c] : 1.0f);
      offset[c] = (norm.bias ? norm.bias[c] : 0.0f) - (statistics.tail ? statistics.tail[at] * scale[c] : 0.0f);
    }
    fold.repeat(center);
    fold.repeat(scale);
    fold.repeat(offset);
  }
};

NV_INLINE vf relu(vf x) { return max(vf{}, x); }

template <bool kRelu>
void apply_block(const Affine& affine, const Fold& fold, std::int64_t n, const float* x, float* y) {
  sweep<1>(n, fold.width, [&](RowCount<1>, std::int64_t at, std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
    const vf center = load(affine.center + j), scale = load(affine.scale + j), offset = load(affine.offset + j);
    const vf v = fma(load_some(x + at, count) - center, scale, offset);
    store_some(y + at, kRelu ? relu(v) : v, count);
  });
}

/// From the end to the start: what the statistics read last is still in the cache.
void apply_instance(const ChannelNorm& norm, const Fold& fold, const RowBlocks& blocks,
                    const NormStatistics& statistics, std::int64_t instance, const float* x, float* y) {
  const core::Scratch<float> scratch(count_of(Affine::kArrays * fold.padded()));
  const Affine affine(norm, fold, statistics, instance, scratch.get());
  core::parallel_chunks(blocks.count, [&](std::int64_t chunk) {
    const std::int64_t b = blocks.count - 1 - chunk, at = blocks.first(b) * norm.channels;
    const std::int64_t n = blocks.size(b) * norm.channels;
    if (norm.relu)
      apply_block<true>(affine, fold, n, x + at, y + at);
    else
      apply_block<false>(affine, fold, n, x + at, y + at);
  });
}

}  // namespace

void channel_norm_forward(ChannelNorm norm, double eps, const float* x, float* y, NormStatisticsOut statistics) {
  const Fold fold(norm.channels);
  const RowBlocks blocks(norm.rows, fold);
  for_instances(norm, [&](std::int64_t i) {
    const std::int64_t at = i * norm.instance_size();
    instance_statistics(norm, fold, blocks, eps, x + at, i, statistics);
    apply_instance(norm, fold, blocks, {statistics.mean, statistics.tail, statistics.rstd}, i, x + at, y + at);
  });
}

void channel_norm_apply(ChannelNorm norm, NormStatistics statistics, const float* x, float* y) {
  const Fold fold(norm.channels);
  const RowBlocks blocks(norm.rows, fold);
  for_instances(norm, [&](std::int64_t i) {
    const std::int64_t at = i * norm.instance_size();
    apply_instance(norm, fold, blocks, statistics, i, x + at, y + at);
  });
}

void reciprocal_deviation(std::int64_t n, double eps, const float* variance, float* out) {
  for (std::int64_t i = 0; i < n; ++i)
    out[i] = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(variance[i]) + eps));
}

void update_running(std::int64_t instances, std::int64_t n, double momentum, double scale, const float* values,
                    float* running) {
  const double share = momentum * scale / static_cast<double>(instances);
  for (std::int64_t c = 0; c < n; ++c) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < instances; ++i) sum += static_cast<double>(values[i * n + c]);
    running[c] = static_cast<float>((1.0 - momentum) * static_cast<double>(running[c]) + share * sum);
  }
}

}  // namespace nervure::kernels::NV_ISA
