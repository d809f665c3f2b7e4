// SPDX-License-Identifier: BSD-3-Clause
// The loop over time that all recurrent layers share, forward and backward, and the places of their states.
#pragma once

#include <cstring>

#include "core/scratch.h"
#include "core/vmath.h"
#include "kernels/lanes.h"
#include "kernels/recurrent_factor.h"
#include "kernels/recurrent_split.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kFewSteps = 4;  // that do not pay for packing the weights

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

/// A state on its way through time: what enters each step, one row for each packed row; without `keep` only those of
/// two steps.
class StateFlow {
 public:
  /// `initial` (null: zeros) and `final` in the caller's order of rows.
  StateFlow(const Sequence& s, float* entering, std::int64_t width, bool keep, const float* initial, float* final)
      : s_(s), entering_(entering), width_(width), keep_(keep), initial_(initial), final_(final) {}

  float* at(std::int64_t t, std::int64_t j) const {
    return entering_ + ((keep_ ? s_.offset[t] : (t & 1) * s_.batch) + j) * width_;
  }
  /// Whether row j goes on after step t of the forward pass.
  bool goes_on(std::int64_t t, std::int64_t j) const {
    return s_.reverse ? t > 0 && j < s_.active[t - 1] : j < s_.active[t + 1];
  }
  /// Where the state after step t of the forward pass goes.
  float* after(std::int64_t t, std::int64_t j) const {
    return goes_on(t, j) ? at(s_.reverse ? t - 1 : t + 1, j) : final_at(j);
  }
  float* final_at(std::int64_t j) const { return final_ + s_.row[j] * width_; }
  /// The rows among [first, last) that begin at step t.
  RowRange beginning(std::int64_t t, std::int64_t first, std::int64_t last) const {
    const std::int64_t before = s_.reverse ? s_.active[t + 1] : t == 0 ? 0 : s_.active[t];
    return {larger(first, before), smaller(last, s_.active[t])};
  }
  void begin(std::int64_t t, RowRange rows) const {
    for (std::int64_t j = rows.begin; j < rows.end; ++j) copy_row_or_zeros(initial_, s_.row[j], width_, at(t, j));
  }
  /// Rows that do not run at all end as they began.
  void keep_others() const {
    for (std::int64_t j = s_.active[0]; j < s_.batch; ++j) copy_row_or_zeros(initial_, s_.row[j], width_, final_at(j));
  }

 private:
  const Sequence& s_;
  float* entering_;
  std::int64_t width_;
  bool keep_;
  const float* initial_;
  float* final_;
};

/// Rows of a step's outputs, or of their gradients (null where those are).
template <class Steps>
NV_INLINE auto row_of_steps(const Sequence& s, const Steps& y, std::int64_t t, std::int64_t j) {
  return y.data ? y.data + s.row[j] * y.row_step + t * y.time_step : nullptr;
}

/// The gradient of a state, in rows of falling length: of rows that have not yet begun in the backward pass that of the
/// final state, of rows that are done that of the initial one.
class StateGradient {
 public:
  StateGradient(const Sequence& s, std::int64_t width, const float* of_final)
      : s_(s), width_(width), rows_(static_cast<std::size_t>(s.batch * width)) {
    for (std::int64_t j = 0; j < s.batch; ++j) copy_row_or_zeros(of_final, s.row[j], width, at(j));
  }
  float* at(std::int64_t j) const { return rows_.get() + j * width_; }
  void give(float* of_initial) const {
    for (std::int64_t j = 0; j < s_.batch; ++j) copy_row(at(j), width_, of_initial + s_.row[j] * width_);
  }

 private:
  const Sequence& s_;
  std::int64_t width_;
  core::Scratch<float> rows_;
};

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
        factor_(w + column, ldw, false, input, 1, count, s.total),
        packing_(factor_, s.total >= 4 * s.batch && s.total >= 16) {}

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
  Factor factor_;
  Packing packing_;
};

/// What a step of the backward pass reads and writes: the tiles of the product before it bring it from memory, where it
/// would be waited for.
class StepFetch {
 public:
  /// `gates` of `width` units in rows of `stride` floats; the product's panels as `split` cuts them.
  StepFetch(const Factor& product, const Split& split, std::int64_t gates, std::int64_t width, std::int64_t stride,
            const StepsIn& dy)
      : columns_(smaller(split.panels * product.panel_width(), width)),
        gates_(columns_, gates, width, stride, product.depth(), product.fetched_lines()),
        state_(columns_, 1, 0, width, product.depth(), product.fetched_lines()),
        dy_(columns_, 1, 0, dy.row_step, product.depth(), product.fetched_lines()) {}

  bool is_possible() const { return gates_.rows() > 0; }
  /// From the first of `rows` and of the columns; each may be null.
  void aim(std::int64_t rows, const float* gates, const float* d, const float* dy, const float* state,
           Fetch& fetch) const {
    fetch.add(gates_, gates, rows);
    fetch.add(gates_, d, rows);
    fetch.add(dy_, dy, rows);
    fetch.add(state_, state, rows);
  }

 private:
  std::int64_t columns_;
  FetchPattern gates_, state_, dy_;
};

/// sum[k] = a[k] + b[k], each null for zeros; returns null when both are.
NV_INLINE const float* add_biases(const float* a, const float* b, std::int64_t n, float* sum) {
  for (std::int64_t k = 0; k < n; ++k) sum[k] = (a ? a[k] : 0.0f) + (b ? b[k] : 0.0f);
  return a || b ? sum : nullptr;
}

/// A pass over time. For each block of at most `block` steps ahead(i, end, first, last), for each of its steps
/// begin(i, first, last) and then body(i, first, last, first panel, last panel), in parallel as `split` says. i counts
/// the steps of `walk`, or one more when `count` says so.
template <class Ahead, class Begin, class Body>
void over_time(const Sequence& s, const Walk& walk, const Split& split, std::int64_t panels, std::int64_t block,
               std::int64_t count, const Ahead& ahead, const Begin& begin, const Body& body) {
  if (split.units) {
    for (std::int64_t i = 0, due = 0; i < count; ++i) {
      if (i == due) ahead(i, due = smaller(i + block, count), 0, s.batch);
      begin(i, 0, s.batch);
      core::parallel_for(panels, split.panels,
                         [&](std::int64_t first, std::int64_t last) { body(i, 0, s.batch, first, last); });
    }
    return;
  }
  const core::Scratch<std::int64_t> bounds(static_cast<std::size_t>(memory_of_row_chunks(s)));
  RowChunks chunks(s, split, bounds.get());
  for (std::int64_t from = 0; from < count; from += split.steps) {
    const std::int64_t to = smaller(from + split.steps, count), low = smaller(from, larger(walk.steps - 1, 0)),
                       high = smaller(to, walk.steps);
    chunks.cut(walk.backward ? walk.steps - high : low, walk.backward ? walk.steps - low : high);
    core::parallel_chunks(chunks.count(), [&](std::int64_t chunk) {
      const std::int64_t first = chunks.first(chunk), last = chunks.last(chunk);
      for (std::int64_t i = from, due = from; i < to; ++i) {
        if (i == due) ahead(i, due = smaller(i + block, to), first, last);
        begin(i, first, last);
        body(i, first, last, std::int64_t{0}, panels);
      }
    });
  }
}

/// The same for a backward pass, which has one step more and nothing to do ahead.
template <class Body>
void over_time(const Sequence& s, const Walk& walk, const Split& split, std::int64_t panels, const Body& body) {
  const std::int64_t count = walk.steps + 1;
  over_time(
      s, walk, split, panels, count, count, [](std::int64_t, std::int64_t, std::int64_t, std::int64_t) {},
      [](std::int64_t, std::int64_t, std::int64_t) {}, body);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
