// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/softmax.h"

#include "core/launch.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

using kernels::ReduceShape;

/// The dimension between those that lie outside and inside of it in memory.
ReduceShape shape_around(const Tensor& x, int dim) {
  ReduceShape shape{1, 1, 1};
  bool inside = false;
  for (int position = 0; position < x.rank(); ++position) {
    const int at = x.order()[position];
    if (at == dim) {
      shape.reduced = x.size(at);
      inside = true;
    } else {
      (inside ? shape.inner : shape.outer) *= x.size(at);
    }
  }
  return shape;
}

/// Forward and backward are kernel objects (core/dispatch.h) of these two signatures, copied: three pointers each.
template <class Forward, class Backward>
Tensor normalised(const char* op, const Tensor& input, std::int64_t dim, const Forward& forward,
                  const Backward& backward) {
  const Tensor x = input.dtype() == DType::float32 ? input : cast(input, DType::float32);
  const ReduceShape shape = shape_around(x, core::normalize_dim(op, dim, x.rank()));
  const Tensor y = Tensor::empty_like(x);
  const std::int64_t work = 4 * x.numel();
  core::launch(work, [shape, forward, x = x.f32(), y = y.f32_out()] { forward(shape, x, y); });
  if (core::needs_grad(x))
    core::record(op, y, {x}, core::saved(y.detach()), [shape, work, backward](core::Gradients& g, const Tensor& y) {
      const Tensor dy = to_order(g.dy(), y.order()), dx = Tensor::empty_like(y);
      core::launch(work,
                   [shape, backward, y = y.f32(), dy = dy.f32(), dx = dx.f32_out()] { backward(shape, y, dy, dx); });
      g.set(0, dx);
    });
  return y;
}

}  // namespace

Tensor softmax(const Tensor& x, std::int64_t dim) {
  return normalised("softmax", x, dim, kernels::softmax_forward, kernels::softmax_backward);
}

Tensor log_softmax(const Tensor& x, std::int64_t dim) {
  return normalised("log_softmax", x, dim, kernels::log_softmax_forward, kernels::log_softmax_backward);
}

}  // namespace nervure::ops
