// SPDX-License-Identifier: BSD-3-Clause
// The parts of a Transformer layer as one operation each, for decoding: y = x + f(norm(x)), or norm(x + f(x)).
#include <cmath>
#include <cstring>

#include "core/launch.h"
#include "kernels/attention.h"
#include "kernels/row_norm.h"
#include "ops/activation.h"
#include "ops/affine.h"
#include "ops/key_value_store.h"
#include "ops/recurrent.h"

namespace nervure::ops {
namespace {

using kernels::Attention;
using kernels::AttentionSteps;

/// What the parts have in common: x, the norm, and y.
class Residual {
 public:
  /// `weights`: the last two are the norm's.
  Residual(const char* op, const Tensor& x, const std::vector<Tensor>& weights, double eps, bool norm_first)
      : x_(x), eps_(eps), norm_first_(norm_first) {
    NV_CHECK(weights.size() == 6, op, "weights must be 6 tensors, got ", weights.size());
    core::check_dtype(op, "input", x, DType::float32);
    NV_CHECK(x.rank() == 3 && x.size(2) > 0, op, "input must be (B, T, E), got ", x.shape());
    if (!x.is_row_major()) x_ = row_major(x.detach());
    for (int i : {4, 5}) {
      const Tensor& p = weights[static_cast<std::size_t>(i)];
      if (!p) continue;
      core::check_dtype(op, "norm", p, DType::float32);
      NV_CHECK(p.shape() == (Shape{width()}), op, "the norm's weight and bias must be (", width(), "), got ",
               p.shape());
    }
    const auto data = [&](std::size_t i) { return weights[i] ? weights[i].f32() : nullptr; };
    norm_ = {rows(), width(), data(4), data(5), true};
    y_ = Tensor::empty(x_.shape());
    between_ = Tensor::empty({rows() * width() + rows() * norm_.statistics()});
  }

  std::int64_t batch() const { return x_.size(0); }
  std::int64_t length() const { return x_.size(1); }
  std::int64_t rows() const { return batch() * length(); }
  std::int64_t width() const { return x_.size(2); }
  const Tensor& y() const { return y_; }

  /// f(z, sum) adds to `sum`, which holds x. Rows are `width` apart.
  template <class Function>
  void launch(std::int64_t work, const Function& f) const {
    if (rows() == 0) return;
    core::launch(work, [this, f, x = x_.f32(), y = y_.f32_out(), between = between_.f32_out()] {
      const std::int64_t count = rows() * width();
      float* const statistics = between + count;
      if (norm_first_) kernels::row_norm_forward(norm_, eps_, x, between, statistics);
      float* const sum = norm_first_ ? y : between;
      std::memcpy(sum, x, static_cast<std::size_t>(count) * sizeof(float));
      f(norm_first_ ? between : x, sum);
      if (!norm_first_) kernels::row_norm_forward(norm_, eps_, between, y, statistics);
    });
  }

 private:
  Tensor x_, y_, between_;
  kernels::RowNorm norm_{};
  double eps_;
  bool norm_first_;
};

void check_heads(const char* op, std::int64_t width, std::int64_t heads) {
  NV_CHECK(heads >= 1 && width % heads == 0, op, "heads must divide E = ", width, ", got ", heads);
}

/// Without the pointers to queries, keys and values.
Attention attention_of(const Residual& r, std::int64_t heads, std::int64_t keys, const AttentionSteps& q,
                       const AttentionSteps& kv) {
  const std::int64_t size = r.width() / heads;
  Attention a{r.batch(),
              heads,
              r.length(),
              keys,
              size,
              size,
              nullptr,
              nullptr,
              nullptr,
              q,
              kv,
              kv,
              {r.length() * r.width(), size, r.width()},
              static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)))};
  return a;
}

std::int64_t work_of(const Attention& a) { return 2 * a.batch * a.heads * a.queries * a.keys * a.head_size; }

}  // namespace

Tensor self_attention_block(const Tensor& x, const std::vector<Tensor>& weights, double eps, bool norm_first,
                            std::int64_t heads, const Tensor& keys, const Tensor& values, std::int64_t length) {
  constexpr const char* op = "self_attention_block";
  const Residual r(op, x, weights, eps, norm_first);
  const std::int64_t rows = r.rows(), width = r.width(), added = r.length(), batch = r.batch();
  check_heads(op, width, heads);
  const Affine in = affine(op, "in_proj", weights[0], weights[1], 3 * width, width);
  const Affine out = affine(op, "out_proj", weights[2], weights[3], width, width);
  const KeyValueStore store = key_value_store(op, keys, values, batch, width, length, added);
  const std::int64_t size = width / heads;
  Attention a = attention_of(r, heads, length + added, {added * 3 * width, size, 3 * width},
                             {store.capacity * width, size, width});
  a.k = store.keys;
  a.v = store.values;
  const Tensor buffer = Tensor::empty({rows * (4 * width + heads)});
  float* const packed = buffer.f32_out();
  r.launch(in.work(rows) + out.work(rows) + work_of(a), [=](const float* z, float* sum) {
    float *const mixed = packed + rows * 3 * width, *const log_sum = mixed + rows * width;
    in.apply(rows, z, width, {packed, 3 * width});
    store.put(packed, batch, added, width, length);
    Attention one = a;
    one.q = packed;
    kernels::attention_forward(one, mixed, log_sum);
    out.apply(rows, mixed, width, {sum, width}, true);
  });
  return r.y();
}

Tensor cross_attention_block(const Tensor& x, const std::vector<Tensor>& weights, double eps, bool norm_first,
                             std::int64_t heads, const Tensor& sides, const Tensor& lengths) {
  constexpr const char* op = "cross_attention_block";
  const Residual r(op, x, weights, eps, norm_first);
  const std::int64_t rows = r.rows(), width = r.width(), batch = r.batch();
  check_heads(op, width, heads);
  const Affine query = affine(op, "in_proj", weights[0], weights[1], 3 * width, width).outputs(0, width);
  const Affine out = affine(op, "out_proj", weights[2], weights[3], width, width);
  core::check_dtype(op, "sides", sides, DType::float32);
  NV_CHECK(sides.rank() == 3 && sides.size(0) == batch && sides.size(2) == 2 * width && sides.is_row_major(), op,
           "sides must be (", batch, ", S, ", 2 * width, ") and row-major, got ", sides.shape());
  const std::int64_t keys = sides.size(1), size = width / heads;
  Attention a = attention_of(r, heads, keys, {r.length() * width, size, width}, {keys * 2 * width, size, 2 * width});
  a.k = sides.f32();
  a.v = a.k + width;
  if (lengths) {
    check_lengths(op, lengths, batch, keys);
    a.lengths = lengths.i64();
  }
  const Tensor buffer = Tensor::empty({rows * (2 * width + heads)});
  float* const q = buffer.f32_out();
  r.launch(query.work(rows) + out.work(rows) + work_of(a), [=](const float* z, float* sum) {
    float *const mixed = q + rows * width, *const log_sum = mixed + rows * width;
    query.apply(rows, z, width, {q, width});
    Attention one = a;
    one.q = q;
    kernels::attention_forward(one, mixed, log_sum);
    out.apply(rows, mixed, width, {sum, width}, true);
  });
  return r.y();
}

Tensor feed_forward_block(const Tensor& x, const std::vector<Tensor>& weights, double eps, bool norm_first,
                          const std::string& activation) {
  constexpr const char* op = "feed_forward_block";
  const Residual r(op, x, weights, eps, norm_first);
  const std::int64_t rows = r.rows(), width = r.width();
  const Affine in = affine(op, "linear1", weights[0], weights[1], -1, width);
  const Affine out = affine(op, "linear2", weights[2], weights[3], width, in.out);
  const kernels::Activation function = parse_activation(op, activation);
  const Tensor buffer = Tensor::empty({rows * in.out});
  float* const hidden = buffer.f32_out();
  r.launch(in.work(rows) + out.work(rows), [=](const float* z, float* sum) {
    in.apply(rows, z, width, {hidden, in.out}, false, function);
    out.apply(rows, hidden, in.out, {sum, width}, true);
  });
  return r.y();
}

}  // namespace nervure::ops
