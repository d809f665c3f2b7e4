// SPDX-License-Identifier: BSD-3-Clause
// What the recurrent layers share: their input in packed order, and the checks. Not part of the catalogue.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/recurrent.h"
#include "ops/ops.h"

namespace nervure::ops {

/// Lengths (batch) int64, each in [0, steps].
void check_lengths(const char* op, const Tensor& lengths, std::int64_t batch, std::int64_t steps);

/// One layer's batch: x (B, T, I) and where its rows end.
struct SequenceBatch {
  Tensor x;        // row-major, or step by step in memory: order (1, 0, 2)
  Tensor packed;   // what the kernels read: the memory of x where that is possible
  Tensor numbers;  // active, offset, row: what `sequence` points into
  kernels::Sequence sequence;
  std::int64_t batch, steps, input;
  bool step_by_step;  // x, and not row-major

  void detach() { x = Tensor(); }
  kernels::Sequence direction(std::int64_t d) const;
};

SequenceBatch sequence_batch(const char* op, const Tensor& x, const Tensor& lengths);

/// A new tensor (B, T, width) lying like the batch's x, and where direction d of `directions` writes in it.
Tensor steps_tensor(const SequenceBatch& batch, std::int64_t width);
kernels::StepsOut steps_out(const Tensor& y, std::int64_t d, std::int64_t directions);
/// Likewise for the gradient `dy` of such a tensor, which may be undefined. Keeps what it converts in `dy`.
kernels::StepsIn steps_in(Tensor& dy, std::int64_t d, std::int64_t directions);
/// Zeros in y past the rows' ends.
void clear_padding(const SequenceBatch& batch, const Tensor& y);
/// The gradient of x from its packed form.
Tensor unpacked(const SequenceBatch& batch, const Tensor& packed);

/// The sizes of a layer, and its weights as the kernels read them: matrices lie as [in, out].
struct LayerWeights {
  std::vector<Tensor> tensors;
  std::int64_t directions, per_direction, hidden;

  const Tensor& at(std::int64_t d, std::int64_t i) const {
    return tensors[static_cast<std::size_t>(d * per_direction + i)];
  }
  const float* data(std::int64_t d, std::int64_t i) const { return at(d, i) ? at(d, i).f32() : nullptr; }
  void detach();
};

/// What the backward of a layer reads, of what others can reach: its input, unless that was packed, and the weights.
std::vector<Tensor> read_again(const SequenceBatch& batch, const LayerWeights& weights);

/// The gradients of one direction's weights, as kernels write them: like the weights where they are wanted.
class WeightGradients {
 public:
  WeightGradients(const LayerWeights& weights, std::int64_t d, int first_input, const core::Gradients& g);
  float* data(int i) const {
    return tensors_[static_cast<std::size_t>(i)] ? tensors_[static_cast<std::size_t>(i)].f32_out() : nullptr;
  }
  /// Where the gradient that two biases share goes.
  float* shared_bias(int i, int j) const { return data(i) ? data(i) : data(j); }
  /// Hands them over; with `shares`, the gradient of weight 3 is that of weight 2.
  void set(core::Gradients& g, bool shares_bias) const;

 private:
  std::vector<Tensor> tensors_;
  int first_;
};

/// Checks weight_ih (gates hidden, input), weight_hh (gates hidden, output), and the two biases of each direction. The
/// output is as wide as the hidden state, unless there is a projection at position `projection` (output, hidden).
LayerWeights layer_weights(const char* op, const std::vector<Tensor>& weights, std::int64_t per_direction,
                           std::int64_t gates, std::int64_t input, int projection = -1);

/// An initial state (directions, batch, width), or undefined; row-major.
Tensor initial_state(const char* op, const char* name, const Tensor& state, std::int64_t directions, std::int64_t batch,
                     std::int64_t width);

inline const float* data_or_null(const Tensor& x) { return x ? x.f32() : nullptr; }
inline const float* data_or_null(const Tensor& x, std::int64_t offset) { return x ? x.f32() + offset : nullptr; }

}  // namespace nervure::ops
