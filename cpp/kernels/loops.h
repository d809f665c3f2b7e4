// SPDX-License-Identifier: BSD-3-Clause
// The iteration space of an element-wise kernel with broadcasting.
#pragma once

#include <cstdint>

namespace nervure::kernels {

inline constexpr int kMaxInputs = 3;
inline constexpr int kMaxLoops = 8;

/// Nested loops, outermost first, over an output that is dense in this order: element (i0, i1, ...) of input k lies at
/// sum of i_j * stride[k][j]. Neighbouring loops are merged where every input allows; no loop has size 1.
struct Loops {
  int rank = 0;
  std::int64_t size[kMaxLoops] = {};
  std::int64_t stride[kMaxInputs][kMaxLoops] = {};

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= size[i];
    return n;
  }
};

/// Types of elements, where a kernel takes several.
enum class Element : int { float32, int64, boolean };

}  // namespace nervure::kernels
