// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/channel_columns.h"
#include "kernels/channel_norm.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kWholeInstance = 256 * 1024;  // an instance this small is one task
constexpr std::int64_t kChunk = 16 * 1024;

std::size_t count_of(std::int64_t n) { return static_cast<std::size_t>(n); }

/// One value per column. y = (x - center) scale + offset; dx = d scale + (x - center) slope + level.
struct Columns {
  static constexpr int kArrays = 5;
  float *center, *scale, *offset, *slope, *level;

  Columns(const Fold& fold, float* base)
      : center(base),
        scale(base + fold.padded()),
        offset(base + 2 * fold.padded()),
        slope(base + 3 * fold.padded()),
        level(base + 4 * fold.padded()) {}

  void set_forward(const ChannelNorm& norm, const Fold& fold, const NormStatistics& statistics, std::int64_t instance) {
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

  /// From the sums of d and d h of every channel.
  void set_means(const ChannelNorm& norm, const Fold& fold, const NormStatistics& statistics, std::int64_t instance,
                 const double* sum, const double* product) {
    const std::int64_t size = norm.channels / norm.groups;
    const double share = 1.0 / static_cast<double>(norm.rows * size);
    for (std::int64_t g = 0; g < norm.groups; ++g) {
      const std::int64_t at = instance * norm.groups + g;
      double d = 0.0, dh = 0.0;
      for (std::int64_t c = g * size; c < (g + 1) * size; ++c) {
        const double weight = norm.weight ? static_cast<double>(norm.weight[c]) : 1.0;
        d += weight * sum[c];
        dh += weight * product[c];
      }
      const auto rstd = static_cast<double>(statistics.rstd[at]);
      const double tail = statistics.tail ? static_cast<double>(statistics.tail[at]) : 0.0;
      const double by_x = -rstd * rstd * dh * share;
      for (std::int64_t c = g * size; c < (g + 1) * size; ++c) {
        slope[c] = static_cast<float>(by_x);
        level[c] = static_cast<float>(-rstd * d * share - by_x * tail);
      }
    }
    fold.repeat(slope);
    fold.repeat(level);
  }
};

/// dy through the activation, whose output is computed again rather than kept.
template <bool kRelu>
NV_INLINE vf through(vf dy, vf centered, vf scale, vf offset) {
  return kRelu ? select(fma(centered, scale, offset) <= 0.0f, vf{}, dy) : dy;
}

/// Sums of d and of d (x - center) of every channel of a block.
template <bool kRelu>
void block_sums(const Columns& columns, const Fold& fold, std::int64_t n, const float* x, const float* dy, float* out) {
  const std::int64_t padded = fold.padded();
  const core::Scratch<float> scratch(count_of(2 * padded));
  float *const sum = scratch.get(), *const product = sum + padded;
  std::memset(sum, 0, count_of(2 * padded) * sizeof(float));
  sweep<4>(n, fold.width,
           [&]<int kRows>(RowCount<kRows>, std::int64_t at, std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
             const vf center = load(columns.center + j);
             const vf scale = kRelu ? load(columns.scale + j) : vf{}, offset = kRelu ? load(columns.offset + j) : vf{};
             vf total{}, products{};
#pragma GCC unroll 4
             for (int r = 0; r < kRows; ++r) {
               const std::int64_t i = at + r * fold.width;
               ask_ahead(x + i);
               ask_ahead(dy + i);
               const vf v = load_some(x + i, count) - center;
               const vf d = through<kRelu>(load_some(dy + i, count), v, scale, offset);
               total += d;
               products = fma(d, v, products);
             }
             store(sum + j, load(sum + j) + total);
             store(product + j, load(product + j) + products);
           });
  for (std::int64_t c = 0; c < fold.channels; ++c) {
    out[c] = static_cast<float>(fold.total(sum, c));
    out[fold.channels + c] = static_cast<float>(fold.total(product, c));
  }
}

template <bool kRelu, bool kFromInput>
void block_gradient(const Columns& columns, const Fold& fold, std::int64_t n, const float* x, const float* dy,
                    float* dx) {
  sweep<4>(n, fold.width,
           [&]<int kRows>(RowCount<kRows>, std::int64_t at, std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
             const vf scale = load(columns.scale + j);
             const vf center = kFromInput || kRelu ? load(columns.center + j) : vf{};
             const vf offset = kRelu ? load(columns.offset + j) : vf{};
             const vf slope = kFromInput ? load(columns.slope + j) : vf{},
                      level = kFromInput ? load(columns.level + j) : vf{};
#pragma GCC unroll 4
             for (int r = 0; r < kRows; ++r) {
               const std::int64_t i = at + r * fold.width;
               ask_ahead(dy + i);
               if (kFromInput || kRelu) ask_ahead(x + i);
               const vf v = kFromInput || kRelu ? load_some(x + i, count) - center : vf{};
               const vf d = through<kRelu>(load_some(dy + i, count), v, scale, offset);
               store_some(dx + i, kFromInput ? fma(d, scale, fma(v, slope, level)) : d * scale, count);
             }
           });
}

struct Backward {
  ChannelNorm norm;
  NormStatistics statistics;
  bool own;
  const float *x, *dy;
  float* dx;
  Fold fold;
  RowBlocks blocks;

  /// Sums over an instance of d and of d h, in `sum` and `product`.
  void reduce(const Columns& columns, std::int64_t instance, double* sum, double* product) const {
    const std::int64_t channels = norm.channels, start = instance * norm.instance_size();
    const core::Scratch<float> scratch(count_of(blocks.count * 2 * channels));
    float* const parts = scratch.get();
    core::parallel_chunks(blocks.count, [&](std::int64_t b) {
      const std::int64_t at = start + blocks.first(b) * channels, n = blocks.size(b) * channels;
      float* const out = parts + b * 2 * channels;
      if (norm.relu)
        block_sums<true>(columns, fold, n, x + at, dy + at, out);
      else
        block_sums<false>(columns, fold, n, x + at, dy + at, out);
    });
    for (std::int64_t c = 0; c < channels; ++c) sum[c] = product[c] = 0.0;
    for (std::int64_t b = 0; b < blocks.count; ++b) {
      const float* const part = parts + b * 2 * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        sum[c] += static_cast<double>(part[c]);
        product[c] += static_cast<double>(part[channels + c]);
      }
    }
    const std::int64_t size = channels / norm.groups;
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t at = instance * norm.groups + (size == 1 ? c : c / size);
      const double tail = statistics.tail ? static_cast<double>(statistics.tail[at]) : 0.0;
      product[c] = static_cast<double>(statistics.rstd[at]) * (product[c] - tail * sum[c]);
    }
  }

  template <bool kRelu, bool kFromInput>
  void write(const Columns& columns, std::int64_t instance) const {
    const std::int64_t start = instance * norm.instance_size();
    core::parallel_chunks(blocks.count, [&](std::int64_t chunk) {
      const std::int64_t b = blocks.count - 1 - chunk, at = start + blocks.first(b) * norm.channels;
      block_gradient<kRelu, kFromInput>(columns, fold, blocks.size(b) * norm.channels, x + at, dy + at, dx + at);
    });
  }

  /// The sums of instance i go to sums + 2 i channels, where the weights want them.
  void run(std::int64_t instance, double* sums) const {
    const core::Scratch<float> scratch(count_of(Columns::kArrays * fold.padded()));
    Columns columns(fold, scratch.get());
    columns.set_forward(norm, fold, statistics, instance);
    if (sums) {
      double *const sum = sums + instance * 2 * norm.channels, *const product = sum + norm.channels;
      reduce(columns, instance, sum, product);
      if (own) columns.set_means(norm, fold, statistics, instance, sum, product);
    }
    if (!dx) return;
    if (own)
      norm.relu ? write<true, true>(columns, instance) : write<false, true>(columns, instance);
    else
      norm.relu ? write<true, false>(columns, instance) : write<false, false>(columns, instance);
  }
};

void add_instances(const ChannelNorm& norm, const double* sums, float* out) {
  if (!out) return;
  for (std::int64_t c = 0; c < norm.channels; ++c) {
    double total = 0.0;
    for (std::int64_t i = 0; i < norm.instances; ++i) total += sums[i * 2 * norm.channels + c];
    out[c] = static_cast<float>(total);
  }
}

}  // namespace

void channel_norm_backward(ChannelNorm norm, NormStatistics statistics, bool own, const float* x, const float* dy,
                           float* dx, float* dweight, float* dbias) {
  const Fold fold(norm.channels);
  const Backward backward{norm, statistics, own, x, dy, dx, fold, RowBlocks(norm.rows, fold)};
  const bool needs_sums = own || dweight || dbias;
  const core::Scratch<double> scratch(count_of(needs_sums ? norm.instances * 2 * norm.channels : 1));
  double* const sums = needs_sums ? scratch.get() : nullptr;
  const std::int64_t size = larger(norm.instance_size(), 1);
  if (size > kWholeInstance) {
    for (std::int64_t i = 0; i < norm.instances; ++i) backward.run(i, sums);
  } else {
    core::parallel_for(norm.instances, larger(1, kChunk / size), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) backward.run(i, sums);
    });
  }
  add_instances(norm, sums, dbias);
  add_instances(norm, sums ? sums + norm.channels : nullptr, dweight);
}

}  // namespace nervure::kernels::NV_ISA
