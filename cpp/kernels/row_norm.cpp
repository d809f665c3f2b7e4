// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/row_norm.h"

#include "kernels/pairwise.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 16 * 1024;  // elements to a task
constexpr std::int64_t kBlockRows = 64;     // to a partial sum of the gradients of weight and bias
constexpr int kGroup = 4;                   // rows whose share in these sums is added at once

struct RowStatistics {
  float mean, tail, rstd;
};

float root(double mean_square, double eps) { return static_cast<float>(1.0 / __builtin_sqrt(mean_square + eps)); }

/// Σ (x - shift) and Σ (x - shift)^2.
struct Moments {
  float first, second;
};

Moments moments_of(const float* x, std::int64_t n, float shift) {
  const vf base = broadcast(shift);
  vf first{}, second{};
  for (std::int64_t begin = 0; begin < n; begin += kSumLeaf) {
    const std::int64_t end = smaller(n, begin + kSumLeaf);
    vf sum[2] = {}, squares[2] = {};
    std::int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes)
#pragma GCC unroll 2
      for (int k = 0; k < 2; ++k) {
        const vf d = load(x + i + k * kLanes) - base;
        sum[k] += d;
        squares[k] = fma(d, d, squares[k]);
      }
    for_vectors(i, end, [&](std::int64_t at, std::int64_t count) NV_INLINE_LAMBDA {
      vf d = load_some(x + at, count) - base;
      if (count != kLanes) d = first_lanes(d, count, 0.0f);
      sum[0] += d;
      squares[0] = fma(d, d, squares[0]);
    });
    first += sum[0] + sum[1];
    second += squares[0] + squares[1];
  }
  return {fold_sum(first), fold_sum(second)};
}

/// One pass, relative to a value near the mean; a second one, relative to the mean, if that value was not near.
RowStatistics statistics_of(const RowNorm& norm, double eps, const float* x) {
  const std::int64_t n = norm.n, some = smaller(n, kLanes);
  const double share = 1.0 / static_cast<double>(n);
  if (!norm.centered) return {0.0f, 0.0f, root(static_cast<double>(moments_of(x, n, 0.0f).second) * share, eps)};
  float shift = fold_sum(load_some(x, some)) / static_cast<float>(some);
  Moments m = moments_of(x, n, shift);
  if (static_cast<double>(m.first) * static_cast<double>(m.first) * share > 0.5 * static_cast<double>(m.second)) {
    shift += m.first / static_cast<float>(n);
    m = moments_of(x, n, shift);
  }
  const double distance = static_cast<double>(m.first) * share;
  const double center = static_cast<double>(shift) + distance;
  const double variance = static_cast<double>(m.second) * share - distance * distance;
  const auto mean = static_cast<float>(center);
  return {mean, static_cast<float>(center - static_cast<double>(mean)), root(variance < 0.0 ? 0.0 : variance, eps)};
}

RowStatistics load_statistics(const RowNorm& norm, const float* statistics, std::int64_t row) {
  const float* const s = statistics + row * norm.statistics();
  return norm.centered ? RowStatistics{s[0], s[1], s[2]} : RowStatistics{0.0f, 0.0f, s[0]};
}

void store_statistics(const RowNorm& norm, float* statistics, std::int64_t row, const RowStatistics& s) {
  float* const out = statistics + row * norm.statistics();
  if (norm.centered) {
    out[0] = s.mean;
    out[1] = s.tail;
  }
  out[norm.statistics() - 1] = s.rstd;
}

/// (x - mean) rstd.
template <bool kCentered>
NV_INLINE vf normal(vf x, const RowStatistics& s) {
  return kCentered ? ((x - broadcast(s.mean)) - broadcast(s.tail)) * broadcast(s.rstd) : x * broadcast(s.rstd);
}

template <bool kCentered, bool kWeight, bool kBias>
void normalize_row(const RowNorm& norm, const RowStatistics& s, const float* x, float* y) {
  for_vectors(0, norm.n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    __builtin_prefetch(x + i + norm.n);  // the next row, which waits for the sums of this one otherwise
    vf v = normal<kCentered>(load_some(x + i, count), s);
    if (kWeight && kBias)
      v = fma(v, load_some(norm.weight + i, count), load_some(norm.bias + i, count));
    else if (kWeight)
      v *= load_some(norm.weight + i, count);
    else if (kBias)
      v += load_some(norm.bias + i, count);
    store_some(y + i, v, count);
  });
}

template <bool kCentered>
void normalize_row(const RowNorm& norm, const RowStatistics& s, const float* x, float* y) {
  if (norm.weight && norm.bias)
    normalize_row<kCentered, true, true>(norm, s, x, y);
  else if (norm.weight)
    normalize_row<kCentered, true, false>(norm, s, x, y);
  else if (norm.bias)
    normalize_row<kCentered, false, true>(norm, s, x, y);
  else
    normalize_row<kCentered, false, false>(norm, s, x, y);
}

// ---- backward ------------------------------------------------------------------------------------------------------

struct BackwardRows {
  const float *x, *dy;
  float* dx;               // may be null
  float *dweight, *dbias;  // sums of the block so far; may be null
};

/// mean(g) and mean(g h) of a row.
struct RowMeans {
  float g, gh;
};

template <bool kCentered>
RowMeans means_of(const RowNorm& norm, const RowStatistics& s, const float* x, const float* dy) {
  const std::int64_t n = norm.n;
  const float share = 1.0f / static_cast<float>(n);
  const float* const weight = norm.weight;
  const auto g = [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf d = load_some(dy + i, count);
    return weight ? d * load_some(weight + i, count) : d;
  };
  vf sum{}, product{};
  for (std::int64_t begin = 0; begin < n; begin += kSumLeaf) {
    vf part{}, products{};
    for_vectors(begin, smaller(n, begin + kSumLeaf), [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
      const vf v = g(i, count);
      part += v;
      products = fma(v, normal<kCentered>(load_some(x + i, count), s), products);
    });
    sum += part;
    product += products;
  }
  return {kCentered ? fold_sum(sum) * share : 0.0f, fold_sum(product) * share};
}

/// kRows rows at once: one addition to the sums of weight and bias for all of them.
template <bool kCentered, int kRows>
void backward_rows(const RowNorm& norm, const float* statistics, std::int64_t row, const BackwardRows& p) {
  RowStatistics s[kRows];
  RowMeans mean[kRows];
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t at = (row + r) * norm.n;
    s[r] = load_statistics(norm, statistics, row + r);
    if (p.dx) mean[r] = means_of<kCentered>(norm, s[r], p.x + at, p.dy + at);
  }
  for_vectors(0, norm.n, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
    const vf weight = norm.weight ? load_some(norm.weight + i, count) : broadcast(1.0f);
    vf sum{}, product{};
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t at = (row + r) * norm.n + i;
      __builtin_prefetch(p.dy + at + kRows * norm.n);
      __builtin_prefetch(p.x + at + kRows * norm.n);
      const vf d = load_some(p.dy + at, count), h = normal<kCentered>(load_some(p.x + at, count), s[r]);
      sum += d;
      product = fma(d, h, product);
      if (!p.dx) continue;
      vf g = d * weight - h * broadcast(mean[r].gh);
      if (kCentered) g -= broadcast(mean[r].g);
      store_some(p.dx + at, g * broadcast(s[r].rstd), count);
    }
    if (p.dbias) store_some(p.dbias + i, load_some(p.dbias + i, count) + sum, count);
    if (p.dweight) store_some(p.dweight + i, load_some(p.dweight + i, count) + product, count);
  });
}

template <bool kCentered>
void backward_block(const RowNorm& norm, const float* statistics, std::int64_t begin, std::int64_t end,
                    const BackwardRows& p) {
  std::int64_t row = begin;
  for (; row + kGroup <= end; row += kGroup) backward_rows<kCentered, kGroup>(norm, statistics, row, p);
  for (; row < end; ++row) backward_rows<kCentered, 1>(norm, statistics, row, p);
}

/// out = the sum of the parts, `stride` apart, each a sum over one block.
void add_parts(const float* parts, std::int64_t stride, std::int64_t blocks, std::int64_t n, float* out) {
  if (!out) return;
  core::parallel_for(n, larger(kLanes, kChunk / larger(blocks, 1) / kLanes * kLanes),
                     [=](std::int64_t begin, std::int64_t end) {
                       for_vectors(begin, end, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
                         vf total = vf{};
                         for (std::int64_t first = 0; first < blocks; first += kBlockRows) {
                           const std::int64_t last = smaller(blocks, first + kBlockRows);
                           vf sum{};
                           for (std::int64_t b = first; b < last; ++b) sum += load_some(parts + b * stride + i, count);
                           total += sum;
                         }
                         store_some(out + i, total, count);
                       });
                     });
}

}  // namespace

void row_norm_forward(RowNorm norm, double eps, const float* x, float* y, float* statistics) {
  core::parallel_for(norm.rows, larger(1, kChunk / norm.n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t at = row * norm.n;
      const RowStatistics s = statistics_of(norm, eps, x + at);
      store_statistics(norm, statistics, row, s);
      if (norm.centered)
        normalize_row<true>(norm, s, x + at, y + at);
      else
        normalize_row<false>(norm, s, x + at, y + at);
    }
  });
}

void row_norm_backward(RowNorm norm, const float* statistics, const float* x, const float* dy, float* dx,
                       float* dweight, float* dbias) {
  const std::int64_t n = norm.n, height = larger(kBlockRows, kChunk / n), blocks = ceil_div(norm.rows, height);
  const std::int64_t stride = n * ((dweight ? 1 : 0) + (dbias ? 1 : 0));
  const core::Scratch<float> scratch(static_cast<std::size_t>(blocks * stride + 1));
  float* const parts = scratch.get();
  core::parallel_chunks(blocks, [&](std::int64_t block) {
    float* const part = parts + block * stride;
    if (stride) std::memset(part, 0, static_cast<std::size_t>(stride) * sizeof(float));
    const BackwardRows p{x, dy, dx, dweight ? part : nullptr, dbias ? part + (dweight ? n : 0) : nullptr};
    const std::int64_t begin = block * height, end = smaller(norm.rows, begin + height);
    if (norm.centered)
      backward_block<true>(norm, statistics, begin, end, p);
    else
      backward_block<false>(norm, statistics, begin, end, p);
  });
  add_parts(parts, stride, blocks, n, dweight);
  add_parts(parts + (dweight ? n : 0), stride, blocks, n, dbias);
}

}  // namespace nervure::kernels::NV_ISA
