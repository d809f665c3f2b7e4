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
