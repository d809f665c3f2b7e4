// SPDX-License-Identifier: BSD-3-Clause
// Row-sparse gradients: most rows of an embedding's table get none at a step, and nothing may cost time for these.
//
// Such a gradient is a tensor of the parameter's shape without storage, whose node holds the rows. Only the gradient of
// a leaf can be one: the tape adds them, the optimisers read the rows, and Tensor::grad() makes a dense one of it.
#pragma once

#include <vector>

#include "core/tape.h"

namespace nervure::core {

class RowGradient final : public Node {
 public:
  RowGradient(Tensor row_numbers, Tensor row_values)
      : Node("row_gradient", 0, 0), rows(std::move(row_numbers)), values(std::move(row_values)) {}
  void run(Gradients&) override {}
  void drop_saved() override {}

  const Tensor rows;    // (n,) int64: ascending, each once
  const Tensor values;  // (n, ...) row-major, in memory of their own; clipping changes them in place
};

/// A gradient of this shape that is zero in all rows but these.
Tensor row_gradient(const Shape& shape, const Tensor& rows, const Tensor& values);
/// The rows of a row-sparse gradient; null for a dense one.
const RowGradient* rows_of(const Tensor& gradient);
/// What the tape left in a leaf, row-sparse or dense, where Tensor::grad() would make it dense; undefined when nothing.
Tensor gradient_as_it_is(const Tensor& leaf);
std::vector<Tensor> gradients_as_they_are(const std::vector<Tensor>& leaves);
/// The same as a dense, row-major tensor.
Tensor dense_gradient(const Tensor& gradient);
/// The sum of two row-sparse gradients of the same shape.
Tensor add_row_gradients(const Tensor& a, const Tensor& b);

}  // namespace nervure::core
