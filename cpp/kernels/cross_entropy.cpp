// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/cross_entropy.h"

#include "kernels/pairwise.h"
#include "kernels/rows.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 16 * 1024;

NV_INLINE float value_or_one(const float* p) { return p ? *p : 1.0f; }

std::int64_t rows_per_task(std::int64_t classes) { return larger(1, kChunk / larger(1, classes)); }

/// What the loss of a row is made of, for kLanes rows: loss = mass · log(sum) - dot. One logarithm serves them all.
struct RowTerms {
  float sum[kLanes], mass[kLanes], dot[kLanes];

  inline void ignore(std::int64_t k) {
    sum[k] = 1.0f;
    mass[k] = dot[k] = 0.0f;
  }
};

/// row(i, k, terms) for every row i, which is number k of its group; then the losses of the group.
template <class Row>
NV_INLINE void for_row_groups(std::int64_t rows, std::int64_t grain, float* loss, const Row& row) {
  core::parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    RowTerms terms;
    for (int k = 0; k < kLanes; ++k) terms.ignore(k);
    for (std::int64_t first = begin; first < end; first += kLanes) {
      const std::int64_t count = smaller(kLanes, end - first);
      for (std::int64_t k = 0; k < count; ++k) row(first + k, k, terms);
      const vf losses = load(terms.mass) * log(load(terms.sum)) - load(terms.dot);
      store_some(loss + first, losses, count);
    }
  });
}

// ---- one class per row, no smoothing ------------------------------------------------------------------------------

/// Softmax numerators of x into dx, scaled so that they are softmax · scale; gives Σ exp(x - m) and m.
struct Exponentials {
  float sum, max;
};

template <bool kGradient>
NV_INLINE Exponentials scaled_softmax(const float* x, std::int64_t n, float scale, float* dx) {
  Exponentials result;
  const bool done = with_short_row(n, [&]<int kVectors>(Vectors<kVectors>) {
    const ShortRow<kVectors> row(x, n);
    result = {row.sum, row.max};
    const vf factor = broadcast(scale / row.sum);
    if (kGradient) store_short_row<kVectors>(dx, n, [&](int k) NV_INLINE_LAMBDA { return row.terms[k] * factor; });
  });
  if (done) return result;
  const float m = row_max(x, n);
  const float sum = row_exp<kGradient>(x, n, m, dx);
  if (kGradient) row_scale(dx, n, scale / sum);
  return {sum, m};
}

template <bool kGradient>
void hard_targets(CrossEntropyShape shape, const float* x, const std::int64_t* target, CrossEntropyOptions options,
                  float scale, float* loss, float* dx) {
  const std::int64_t n = shape.classes;
  for_row_groups(shape.rows, rows_per_task(n), loss, [=](std::int64_t i, std::int64_t k, RowTerms& terms) {
    const std::int64_t t = target[i];
    float* const dx_row = dx + (kGradient ? i * n : 0);
    if (t == options.ignore_index) {
      terms.ignore(k);
      if (kGradient) std::memset(dx_row, 0, sizeof(float) * static_cast<std::size_t>(n));
      return;
    }
    const float weight = options.weight ? options.weight[t] : 1.0f;
    const float at_target = x[i * n + t];
    const float factor = weight * scale;
    const Exponentials e = scaled_softmax<kGradient>(x + i * n, n, factor, dx_row);
    if (kGradient) dx_row[t] -= factor;
    terms.sum[k] = e.sum;
    terms.mass[k] = weight;
    terms.dot[k] = weight * (at_target - e.max);
  });
}

// ---- a distribution per row: smoothed or given ---------------------------------------------------------------------

/// q_c = weight_c (share · target_c + base), and for a class index `peak` more at that class.
struct Distribution {
  const float* weight;
  const float* target;  // null: share does not count
  float share, base;

  NV_INLINE vf at(const Distribution& self, std::int64_t c, std::int64_t count) {
    vf q = broadcast(self.base);
    if (self.target) q += load_some(self.target + c, count) * broadcast(self.share);
    return self.weight ? q * load_some(self.weight + c, count) : q;
  }
};

/// Terms and gradient of one row. `peak` is what the class `t` (if t >= 0) has on top of `q`.
void soft_row(const float* x, std::int64_t n, const Distribution& q, std::int64_t t, float peak, float scale,
              std::int64_t k, RowTerms& terms, float* dx) {
  const float m = row_max(x, n);
  const vf shift = broadcast(m);
  const float at_target = t >= 0 ? x[t] - m : 0.0f;
  const float sum = dx ? row_exp<true>(x, n, m, dx) : row_exp<false>(x, n, m, nullptr);
  float mass = fold_sum(tree_sum(
      0, n, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA { return Distribution::at(q, c, count); }));
  float dot = fold_sum(tree_sum(0, n, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    return Distribution::at(q, c, count) * (load_some(x + c, count) - shift);
  }));
  if (t >= 0) {
    mass += peak;
    dot += peak * at_target;
  }
  terms.sum[k] = sum;
  terms.mass[k] = mass;
  terms.dot[k] = dot;
  if (!dx) return;
  const vf factor = broadcast(mass * scale / sum), step = broadcast(scale);
  for_vectors(0, n, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(dx + c, load_some(dx + c, count) * factor - Distribution::at(q, c, count) * step, count);
  });
  if (t >= 0) dx[t] -= peak * scale;
}

void smoothed_targets(CrossEntropyShape shape, const float* x, const std::int64_t* target, CrossEntropyOptions options,
                      float scale, float* loss, float* dx) {
  const std::int64_t n = shape.classes;
  const Distribution q{options.weight, nullptr, 0.0f, options.label_smoothing / static_cast<float>(n)};
  for_row_groups(shape.rows, rows_per_task(n), loss, [=](std::int64_t i, std::int64_t k, RowTerms& terms) {
    const std::int64_t t = target[i];
    float* const dx_row = dx ? dx + i * n : nullptr;
    if (t == options.ignore_index) {
      terms.ignore(k);
      if (dx) std::memset(dx_row, 0, sizeof(float) * static_cast<std::size_t>(n));
      return;
    }
    const float peak = (1.0f - options.label_smoothing) * (options.weight ? options.weight[t] : 1.0f);
    soft_row(x + i * n, n, q, t, peak, scale, k, terms, dx_row);
  });
}

NV_INLINE float class_weight(CrossEntropyOptions options, std::int64_t t) {
  if (t == options.ignore_index) return 0.0f;
  return options.weight ? options.weight[t] : 1.0f;
}

}  // namespace

std::int64_t find_invalid_target(const std::int64_t* target, CrossEntropyShape shape, std::int64_t ignore_index) {
  const auto valid = [=](std::int64_t t) {
    return static_cast<std::uint64_t>(t) < static_cast<std::uint64_t>(shape.classes) || t == ignore_index;
  };
  constexpr std::int64_t kRun = 1024;  // checked without a branch per row
  for (std::int64_t begin = 0; begin < shape.rows; begin += kRun) {
    const std::int64_t end = smaller(shape.rows, begin + kRun);
    bool all = true;
    for (std::int64_t i = begin; i < end; ++i) all &= valid(target[i]);
    if (all) [[likely]]
      continue;
    for (std::int64_t i = begin; i < end; ++i)
      if (!valid(target[i])) return i;
  }
  return -1;
}

void target_weight_sum(const std::int64_t* target, std::int64_t rows, const float* weight, std::int64_t ignore_index,
                       float* total) {
  const CrossEntropyOptions options{weight, ignore_index, 0.0f};
  const std::int64_t chunks = larger(1, ceil_div(rows, kChunk));
  const core::Scratch<double> partial(static_cast<std::size_t>(chunks));
  double* const totals = partial.get();
  core::parallel_chunks(chunks, [=](std::int64_t chunk) {
    double sum = 0;
    for (std::int64_t i = chunk * kChunk; i < smaller(rows, (chunk + 1) * kChunk); ++i)
      sum += static_cast<double>(class_weight(options, target[i]));
    totals[chunk] = sum;
  });
  double sum = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) sum += totals[chunk];
  *total = static_cast<float>(sum);
}

void cross_entropy_forward(CrossEntropyShape shape, const float* x, const std::int64_t* target,
                           CrossEntropyOptions options, const float* divisor, float* loss, float* dx) {
  const float scale = 1.0f / value_or_one(divisor);
  if (options.label_smoothing > 0.0f)
    smoothed_targets(shape, x, target, options, scale, loss, dx);
  else if (dx)
    hard_targets<true>(shape, x, target, options, scale, loss, dx);
  else
    hard_targets<false>(shape, x, target, options, scale, loss, dx);
}

void cross_entropy_probabilities_forward(CrossEntropyShape shape, const float* x, const float* target,
                                         CrossEntropyOptions options, const float* divisor, float* loss, float* dx) {
  const std::int64_t n = shape.classes;
  const float smoothing = options.label_smoothing, scale = 1.0f / value_or_one(divisor);
  for_row_groups(shape.rows, rows_per_task(n), loss, [=](std::int64_t i, std::int64_t k, RowTerms& terms) {
    const Distribution q{options.weight, target + i * n, 1.0f - smoothing, smoothing / static_cast<float>(n)};
    soft_row(x + i * n, n, q, -1, 0.0f, scale, k, terms, dx ? dx + i * n : nullptr);
  });
}

void cross_entropy_scale(CrossEntropyShape shape, const float* dy, bool per_row, float* dx) {
  if (!per_row && *dy == 1.0f) return;
  const std::int64_t n = shape.classes;
  core::parallel_for(shape.rows, rows_per_task(n), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float factor = dy[per_row ? i : 0];
      if (factor != 1.0f) row_scale(dx + i * n, n, factor);
    }
  });
}

void cross_entropy_probabilities_target_backward(CrossEntropyShape shape, const float* log_probabilities,
                                                 CrossEntropyOptions options, const float* divisor, const float* dy,
                                                 bool per_row, float* dtarget) {
  const std::int64_t n = shape.classes;
  const float share = (1.0f - options.label_smoothing) / value_or_one(divisor);
  core::parallel_for(shape.rows, rows_per_task(n), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const vf factor = broadcast(-dy[per_row ? i : 0] * share);
      for_vectors(0, n, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
        const vf v = load_some(log_probabilities + i * n + c, count) * factor;
        store_some(dtarget + i * n + c, options.weight ? v * load_some(options.weight + c, count) : v, count);
      });
    }
  });
}

void nll_forward(NllShape shape, const float* x, const std::int64_t* target, CrossEntropyOptions options, float* loss) {
  core::parallel_for(shape.outer * shape.inner, kChunk, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t t = target[i];
      const std::int64_t at = (i / shape.inner * shape.classes + t) * shape.inner + i % shape.inner;
      loss[i] = t == options.ignore_index ? 0.0f : -class_weight(options, t) * x[at];
    }
  });
}

void nll_backward(NllShape shape, const std::int64_t* target, CrossEntropyOptions options, const float* divisor,
                  const float* dy, bool per_row, float* dx) {
  const std::int64_t size = shape.classes * shape.inner;
  const float total = value_or_one(divisor);
  core::parallel_for(shape.outer, rows_per_task(size), [=](std::int64_t begin, std::int64_t end) {
    std::memset(dx + begin * size, 0, sizeof(float) * static_cast<std::size_t>((end - begin) * size));
    for (std::int64_t i = begin * shape.inner; i < end * shape.inner; ++i) {
      const std::int64_t t = target[i];
      if (t == options.ignore_index) continue;
      const std::int64_t at = (i / shape.inner * shape.classes + t) * shape.inner + i % shape.inner;
      dx[at] = -class_weight(options, t) * dy[per_row ? i : 0] / total;
    }
  });
}

}  // namespace nervure::kernels::NV_ISA
