// SPDX-License-Identifier: BSD-3-Clause
// Picking elements by index, and adding gradients back to where they came from. Indices are in range already.
//
// Backward kernels add in the order of the indices, and no element is reached from two chunks: the same bits for any
// number of threads, however often an index is repeated.
#pragma once

#include <cstdint>

#include "core/dispatch.h"

namespace nervure::kernels {

inline constexpr int kMaxIndexRank = 8;

/// checked[i] = indices[i], counted from the start; indices lie in [0, size), with `from_end` in [-size, size).
/// Returns the place of the first index out of range, or -1.
NV_KERNEL_RETURNING(std::int64_t, check_indices, const std::int64_t* indices, std::int64_t n, std::int64_t size,
                    bool from_end, std::int64_t* checked);

/// Number of nonzero bytes.
NV_KERNEL_RETURNING(std::int64_t, count_true, const std::uint8_t* mask, std::int64_t n);
/// positions = the places of the first `count` nonzero bytes.
NV_KERNEL(true_positions, const std::uint8_t* mask, std::int64_t count, std::int64_t* positions);

struct TakeShape {
  std::int64_t outer, size, inner;  // x is (outer, size, inner)
  std::int64_t count;               // of indices
};
/// y[o][i] = x[o][indices[i]], runs of `inner` elements of `item_bytes` bytes. y (outer, count, inner).
NV_KERNEL(take_forward, const TakeShape& shape, std::int64_t item_bytes, const void* x, const std::int64_t* indices,
          void* y);
/// dx[o][k] = sum of dy[o][i] over all i with indices[i] = k; negative indices are passed over. dx (outer, size,
/// inner), dy (outer, count, inner).
NV_KERNEL(take_backward, const TakeShape& shape, const float* dy, const std::int64_t* indices, float* dx);

struct GatherShape {
  int rank, dim;
  std::int64_t sizes[kMaxIndexRank];    // of indices and y, which are row-major
  std::int64_t strides[kMaxIndexRank];  // of x, in elements
  std::int64_t x_size;                  // elements of x
};
/// y[..., i, ...] = x[..., indices[..., i, ...], ...] on dimension `dim`.
NV_KERNEL(gather_forward, const GatherShape& shape, std::int64_t item_bytes, const void* x, const std::int64_t* indices,
          void* y);
/// dx[..., indices[..., i, ...], ...] = sum of the dy[..., i, ...] that point there.
NV_KERNEL(gather_backward, const GatherShape& shape, const float* dy, const std::int64_t* indices, float* dx);

}  // namespace nervure::kernels
