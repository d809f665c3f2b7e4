// SPDX-License-Identifier: BSD-3-Clause
// The loop over time that all recurrent layers share, forward and backward, and the places of their states.
#pragma once

#include <cstring>

#include "core/scratch.h"
#include "core/vmath.h"
#include "kernels/lanes.h"
#include "kernels/recurrent_factor.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// Rows [begin, end) of a step, in the order of falling length.
struct RowRange {
  std::int64_t begin, end;
  std::int64_t size() const { return end > begin ? end - begin : 0; }
};

NV_INLINE RowRange running(const Sequence& s, std::int64_t t, std::int64_t begin, std::int64_t end) {
  return {begin, smaller(end, s.active[t])};
}

NV_INLINE void copy_row(const float* from, std::int64_t n, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
}
NV_INLINE void clear_row(std::int64_t n, float* to) { std::memset(to, 0, static_cast<std::size_t>(n) * sizeof(float)); }
/// A row of `from`, which may be null: zeros.
NV_INLINE void copy_row_or_zeros(const float* from, std::int64_t row, std::int64_t n, float* to) {
  if (from)
    copy_row(from + row * n, n, to);
  else
    clear_row(n, to);
}

/// The states that enter each step, one row for each packed row; without `keep` only those of two steps.
struct States {
  float* data;
  std::int64_t width;
  const Sequence* sequence;
  bool keep;
  float* at(std::int64_t t, std::int64_t j) const {
    return data + ((keep ? sequence->offset[t] : (t & 1) * sequence->batch) + j) * width;
  }
};

/// The step that follows t in the forward pass, and how many rows go on to it.
struct Next {
  std::int64_t t, rows;
};
NV_INLINE Next next_of(const Sequence& s, std::int64_t t) {
  if (!s.reverse) return {t + 1, s.active[t + 1]};
  return {t - 1, t > 0 ? s.active[t - 1] : 0};
}

/// The first of the rows that begin at step t of the forward pass; the last is the last one running.
NV_INLINE std::int64_t first_beginning(const Sequence& s, std::int64_t t) {
  return s.reverse ? s.active[t + 1] : t == 0 ? 0 : s.active[t];
}

/// x W_ih + b, computed a few steps ahead of the recurrence so that the gates are still in the second-level cache when
/// it comes to them.
class InputProjection {
 public:
  /// `count` columns of w (input, ldw) from `column` on go to gates + to, rows of `stride` floats.
  InputProjection(const Sequence& s, const float* x, std::int64_t input, const float* w, std::int64_t ldw,
                  const float* bias, std::int64_t column, std::int64_t count, float* gates, std::int64_t stride)
      : s_(s),
        x_(x),
        input_(input),
        bias_(bias ? bias + column : nullptr),
        gates_(gates),
        stride_(stride),
        packs_(s.total >= 4 * s.batch && s.total >= 16),
        factor_(w + column, ldw, false, input, 1, count, s.total),
        packed_(static_cast<std::size_t>(packs_ ? factor_.packed_floats() : 1)) {
    if (packs_) factor_.pack(packed_.get());
  }

  /// Steps to do at a time: such as fit the cache for so many rows to a chunk, when the weights fit beside them.
  std::int64_t block(std::int64_t rows) const {
    constexpr std::int64_t kGates = 64 * 1024, kWeights = 128 * 1024;  // floats
    if (input_ * stride_ > kWeights) return s_.steps;
    return larger(kGates / larger(rows * stride_, 1), 1);
  }

  /// Rows [first, last) of the steps from `begin` to `end` of the pass.
  void run(std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t last) const {
    const std::int64_t low = s_.reverse ? s_.steps - end : begin, high = low + end - begin;
    if (first == 0 && last == s_.batch) {
      const std::int64_t row = s_.offset[low];
      factor_.multiply_all(x_ + row * input_, input_, s_.offset[high] - row, gates_ + row * stride_, stride_, false,
                           bias_);
      return;
    }
    for (std::int64_t panel = 0; panel < factor_.panels(); ++panel)
      for (std::int64_t t = low; t < high; ++t) {
        const std::int64_t row = s_.offset[t] + first;
        factor_.multiply(0, panel, x_ + row * input_, input_, smaller(last, s_.active[t]) - first,
                         gates_ + row * stride_, stride_, false, bias_);
      }
  }

 private:
  const Sequence& s_;
  const float* x_;
  std::int64_t input_;
  const float* bias_;
  float* gates_;
  std::int64_t stride_;
  bool packs_;
  Factor factor_;
  core::Scratch<float> packed_;
};

/// sum[k] = a[k] + b[k], each null for zeros; returns null when both are.
NV_INLINE const float* add_biases(const float* a, const float* b, std::int64_t n, float* sum) {
  for (std::int64_t k = 0; k < n; ++k) sum[k] = (a ? a[k] : 0.0f) + (b ? b[k] : 0.0f);
  return a || b ? sum : nullptr;
}

/// body(step index, rows, first panel, last panel) for all steps of `walk`, in parallel as `split` says. begin(t, rows)
/// runs before a step's chunks. Index `walk.steps`, one more than there are, is passed when `extra`.
template <class Begin, class Body>
void over_time(const Sequence& s, const Split& split, std::int64_t panels, std::int64_t count, const Begin& begin,
               const Body& body) {
  if (split.units) {
    for (std::int64_t i = 0; i < count; ++i) {
      begin(i, 0, s.batch);
      core::parallel_for(panels, split.panels,
                         [&](std::int64_t first, std::int64_t last) { body(i, 0, s.batch, first, last); });
    }
    return;
  }
  for (std::int64_t from = 0; from < count; from += split.steps) {
    const std::int64_t to = smaller(from + split.steps, count);
    core::parallel_for(s.batch, split.rows, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = from; i < to; ++i) {
        begin(i, first, last);
        body(i, first, last, std::int64_t{0}, panels);
      }
    });
  }
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
