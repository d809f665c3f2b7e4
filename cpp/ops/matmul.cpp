// SPDX-License-Identifier: BSD-3-Clause
// Matrix products: matmul with NumPy's rules, and the fully connected layer.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "core/launch.h"
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "ops/activation.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

using kernels::Activation;
using kernels::Gemm;
using kernels::GemmBatch;

/// A matrix, or the first of many, as a product reads it.
struct Matrix {
  const float* data;
  std::int64_t stride;  // between rows, or between columns when transposed
  bool transposed;
  Matrix t() const { return {data, stride, !transposed}; }
};

Gemm product_of(std::int64_t M, std::int64_t N, std::int64_t K, const Matrix& a, const Matrix& b, float* c) {
  return {M, N, K, a.data, a.stride, a.transposed, b.data, b.stride, b.transposed, c, N};
}

std::int64_t work_of(const Gemm& g) { return g.M * g.N * (g.K + 1); }

Tensor to_float(const Tensor& x) { return x.dtype() == DType::float32 ? x : cast(x, DType::float32); }

/// Whether the last two dimensions can be read as a matrix in place: one of them is contiguous.
bool is_matrix(const Tensor& x) {
  const Shape strides = x.strides();
  const int r = x.rank();
  return strides[r - 1] == 1 || x.size(r - 1) <= 1 || strides[r - 2] == 1 || x.size(r - 2) <= 1;
}

/// The last two dimensions of x; is_matrix(x).
Matrix matrix_of(const Tensor& x) {
  const Shape strides = x.strides();
  const int r = x.rank();
  const bool rows = strides[r - 1] == 1 || x.size(r - 1) <= 1;
  if (rows) return {x.f32(), strides[r - 2], false};
  return {x.f32(), strides[r - 1], true};
}

// ---- matmul ---------------------------------------------------------------------------------------------------------

/// Nested loops over the products of a batch, outermost first; steps of broadcast dimensions are 0.
struct BatchLoops {
  struct Loop {
    std::int64_t count, a, b, c;
  };
  std::array<Loop, core::kMaxRank> loop{};
  int depth = 0;

  /// Add a loop inside the others, or lengthen the innermost when that visits the same places.
  void push(const Loop& inner) {
    if (inner.count == 1) return;
    if (depth > 0) {
      Loop& outer = loop[static_cast<std::size_t>(depth - 1)];
      const auto continues = [&](std::int64_t Loop::*step) { return outer.*step == inner.*step * inner.count; };
      if (continues(&Loop::a) && continues(&Loop::b) && continues(&Loop::c)) {
        outer = {outer.count * inner.count, inner.a, inner.b, inner.c};
        return;
      }
    }
    loop[static_cast<std::size_t>(depth++)] = inner;
  }
};

void run_batch(Gemm g, const BatchLoops& loops, int level) {
  const int left = loops.depth - level;
  const auto at = [&](int i) { return loops.loop[static_cast<std::size_t>(level + i)]; };
  if (left == 0) return kernels::gemm(g);
  if (left <= 2) {
    const BatchLoops::Loop outer = left == 2 ? at(0) : BatchLoops::Loop{1, 0, 0, 0}, inner = at(left - 1);
    return kernels::gemm_batched(
        g, GemmBatch{outer.count, inner.count, outer.a, inner.a, outer.b, inner.b, outer.c, inner.c});
  }
  for (std::int64_t i = 0; i < at(0).count; ++i) {
    run_batch(g, loops, level + 1);
    g.a += at(0).a;
    g.b += at(0).b;
    g.c += at(0).c;
  }
}

std::int64_t batch_size(const Tensor& x, int rank, int dim) {
  const int own = dim - (rank - x.rank());
  return own < 0 ? 1 : x.size(own);
}

std::int64_t batch_step(const Tensor& x, int rank, int dim) {
  const int own = dim - (rank - x.rank());
  return own < 0 || x.size(own) == 1 ? 0 : x.strides()[own];
}

/// op(a) op(b) of the last two dimensions, the others broadcast; op transposes or not. Not recorded.
Tensor multiply(Tensor a, bool a_transposed, Tensor b, bool b_transposed) {
  if (!is_matrix(a)) a = row_major(a);
  if (!is_matrix(b)) b = row_major(b);
  const int rank = std::max(a.rank(), b.rank());
  Shape shape = Shape::filled(rank, 0);
  for (int i = 0; i < rank - 2; ++i) {
    const std::int64_t of_a = batch_size(a, rank, i), of_b = batch_size(b, rank, i);
    NV_CHECK(of_a == of_b || of_a == 1 || of_b == 1, "matmul", "batch dimensions do not broadcast: ", a.shape(),
             " and ", b.shape());
    shape[i] = of_a == 1 ? of_b : of_a;
  }
  shape[rank - 2] = a.size(a.rank() - (a_transposed ? 1 : 2));
  shape[rank - 1] = b.size(b.rank() - (b_transposed ? 2 : 1));
  const std::int64_t depth = a.size(a.rank() - (a_transposed ? 2 : 1));

  const Tensor y = Tensor::empty(shape);
  if (y.numel() == 0) return y;
  const Shape steps = y.strides();
  BatchLoops loops;
  for (int i = 0; i < rank - 2; ++i) loops.push({shape[i], batch_step(a, rank, i), batch_step(b, rank, i), steps[i]});
  const Matrix left = a_transposed ? matrix_of(a).t() : matrix_of(a);
  const Matrix right = b_transposed ? matrix_of(b).t() : matrix_of(b);
  const Gemm g = product_of(shape[rank - 2], shape[rank - 1], depth, left, right, y.f32_out());
  core::launch(y.numel() * (depth + 1), [g, loops] { run_batch(g, loops, 0); });
  return y;
}

/// Sums over what broadcasting repeated, so that the gradient gets the operand's shape.
Tensor fold_broadcast(Tensor gradient, const Shape& shape) {
  Dims dims;
  const int extra = gradient.rank() - shape.rank();
  for (int i = 0; i < gradient.rank() - 2; ++i)
    if (i < extra || (shape[i - extra] == 1 && gradient.size(i) != 1)) dims.push_back(i);
  if (!dims.empty()) gradient = sum(gradient, dims, /*keepdim=*/true);
  if (gradient.shape() == shape) return gradient;
  return reshape(gradient, shape.to_vector());
}

/// Both operands have at least two dimensions.
Tensor matmul_matrices(const Tensor& a, const Tensor& b) {
  const Tensor y = multiply(a, false, b, false);
  if (core::needs_grad(a, b))
    core::record("matmul", y, {a, b},
                 core::saved(b.requires_grad() ? a.detach() : Tensor(), a.requires_grad() ? b.detach() : Tensor()),
                 [a_shape = a.shape(), b_shape = b.shape()](core::Gradients& g, const Tensor& a, const Tensor& b) {
                   const Tensor& dy = g.dy();
                   if (g.wants(0)) g.set(0, fold_broadcast(multiply(dy, false, b, true), a_shape));
                   if (g.wants(1)) g.set(1, fold_broadcast(multiply(a, true, dy, false), b_shape));
                 });
  return y;
}

// ---- linear ---------------------------------------------------------------------------------------------------------

constexpr std::array<std::string_view, 11> kActivationNames = {
    "", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus", "hardtanh"};

void check_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  core::check_dtype("linear", "weight", weight, DType::float32);
  NV_CHECK(x.rank() >= 1, "linear", "input must be (..., in), got ", x.shape());
  const std::int64_t in = x.size(x.rank() - 1);
  NV_CHECK(weight.rank() == 2 && weight.size(1) == in, "linear", "weight must be (out, in) with in = ", in, ", got ",
           weight.shape());
  if (!bias) return;
  core::check_dtype("linear", "bias", bias, DType::float32);
  NV_CHECK(bias.rank() == 1 && bias.size(0) == weight.size(0), "linear",
           "bias must be (out) with out = ", weight.size(0), ", got ", bias.shape());
}

/// x as (rows, in): in place when it is a matrix or row-major, otherwise a copy. Keeps what it copied in `x`.
Matrix rows_of(Tensor& x) {
  if (x.rank() == 2) return matrix_of(x);
  if (!x.is_row_major()) x = row_major(x);
  return {x.f32(), x.size(x.rank() - 1), false};
}

struct LinearSaved {
  Shape x_shape, weight_shape;
  Order weight_order;
  Tensor x, weight;  // each where a gradient reads it
  Tensor activated;  // what the derivative of the activation is computed from
  Activation activation;
  std::int64_t rows, in, out;
};

void linear_backward(const LinearSaved& saved, core::Gradients& g) {
  const auto& [x_shape, weight_shape, weight_order, x, weight, activated, activation, rows, in, out] = saved;
  Tensor dz = row_major(g.dy());
  const bool wants_bias = g.wants(2);
  if (wants_bias || activation != Activation::none) {
    const Tensor dy = dz;
    const Tensor db = wants_bias ? Tensor::empty({out}) : Tensor();
    if (activation != Activation::none) dz = Tensor::empty(dy.shape());
    core::launch(
        rows * out * 4,
        [activation = activation, rows = rows, out = out, dy = dy.f32(), from = activated ? activated.f32() : nullptr,
         dz = activation != Activation::none ? dz.f32_out() : nullptr, db = wants_bias ? db.f32_out() : nullptr] {
          kernels::linear_epilogue_backward(activation, rows, out, dy, from, dz, db);
        });
    if (wants_bias) g.set(2, db);
  }
  const Matrix d{dz.f32(), out, false};
  if (g.wants(0)) {
    const Tensor dx = Tensor::empty(x_shape);
    const Gemm product = product_of(rows, in, out, d, matrix_of(weight), dx.f32_out());
    core::launch(work_of(product), [product] { kernels::gemm(product); });
    g.set(0, dx);
  }
  if (g.wants(1)) {
    Tensor source = x;
    const Matrix input = rows_of(source);
    const Tensor dw = Tensor::empty(weight_shape, DType::float32, weight_order);
    const bool lies_in_out = matrix_of(dw).transposed;
    const Gemm product = lies_in_out ? product_of(in, out, rows, input.t(), d, dw.f32_out())
                                     : product_of(out, in, rows, d.t(), input, dw.f32_out());
    core::launch(work_of(product), [product] { kernels::gemm(product); });
    g.set(1, dw);
  }
}

}  // namespace

Tensor matmul(const Tensor& left, const Tensor& right) {
  Tensor a = to_float(left), b = to_float(right);
  NV_CHECK(a.rank() >= 1 && b.rank() >= 1, "matmul", "operands must have at least one dimension, got ", a.shape(),
           " and ", b.shape());
  const bool a_vector = a.rank() == 1, b_vector = b.rank() == 1;
  NV_CHECK(a.size(a.rank() - 1) == b.size(b_vector ? 0 : b.rank() - 2), "matmul",
           "a (..., M, K) and b (..., K, N) must agree in K, got ", left.shape(), " and ", right.shape());
  if (a_vector) a = reshape(a, {1, a.size(0)});
  if (b_vector) b = reshape(b, {b.size(0), 1});

  Dims shape;  // of the result, if it is not that of the product of matrices
  if (a_vector || b_vector || (b.rank() == 2 && a.rank() > 2)) {
    const Tensor& batch = a.rank() > 2 ? a : b;
    for (int i = 0; i < batch.rank() - 2; ++i) shape.push_back(batch.size(i));
    if (!a_vector) shape.push_back(a.size(a.rank() - 2));
    if (!b_vector) shape.push_back(b.size(b.rank() - 1));
    // One matrix on the right: the batch is nothing but more rows.
    if (b.rank() == 2 && a.rank() > 2) {
      std::int64_t rows = 1;
      for (int i = 0; i < a.rank() - 1; ++i) rows *= a.size(i);
      a = reshape(a, {rows, b.size(0)});
    }
    return reshape(matmul_matrices(a, b), shape);
  }
  return matmul_matrices(a, b);
}

Activation parse_activation(const char* op, const std::string& name) {
  const auto found = std::find(kActivationNames.begin(), kActivationNames.end(), name);
  NV_CHECK(
      found != kActivationNames.end(), op,
      "activation must be \"\", relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus or hardtanh, "
      "got \"",
      name, "\"");
  return static_cast<Activation>(found - kActivationNames.begin());
}

Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias, const std::string& activation_name) {
  Tensor x = to_float(input);
  check_linear(x, weight, bias);
  const Activation activation = parse_activation("linear", activation_name);
  const std::int64_t in = weight.size(1), out = weight.size(0);
  Shape shape = x.shape();
  std::int64_t rows = 1;
  for (int i = 0; i < x.rank() - 1; ++i) rows *= x.size(i);
  shape[x.rank() - 1] = out;

  const Tensor y = Tensor::empty(shape);
  const bool recorded = core::needs_grad(x, weight, bias);
  const bool keeps_input = recorded && kernels::derivative_from_input(activation);
  const Tensor z = keeps_input ? Tensor::empty(shape) : y;
  Tensor source = x;
  {
    const core::NoGrad no_grad;
    Gemm product = product_of(rows, out, in, rows_of(source), matrix_of(weight).t(), z.f32_out());
    product.column_bias = bias ? bias.f32() : nullptr;
    product.activation = keeps_input ? Activation::none : activation;
    core::launch(work_of(product), [product, keeps_input, activation, n = y.numel(), y = y.f32_out()] {
      kernels::gemm(product);
      if (keeps_input) kernels::linear_activation(activation, n, product.c, y);
    });
  }
  if (recorded) {
    LinearSaved saved{source.shape(),
                      weight.shape(),
                      weight.order(),
                      weight.requires_grad() ? source.detach() : Tensor(),
                      x.requires_grad() ? weight.detach() : Tensor(),
                      activation == Activation::none ? Tensor() : (keeps_input ? z : y.detach()),
                      activation,
                      rows,
                      in,
                      out};
    auto read = core::saved(saved.x, saved.weight, saved.activated);
    core::record("linear", y, {x, weight, bias}, std::move(read),
                 [saved = std::move(saved)](core::Gradients& g) { linear_backward(saved, g); });
  }
  return y;
}

}  // namespace nervure::ops
