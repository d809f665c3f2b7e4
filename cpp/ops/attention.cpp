// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/attention.h"

#include <cmath>
#include <utility>

#include "core/launch.h"
#include "ops/key_value_store.h"
#include "ops/ops.h"
#include "ops/random.h"

namespace nervure::ops {
namespace {

using kernels::Attention;
using kernels::AttentionGradients;
using kernels::AttentionSteps;

constexpr const char* kOp = "scaled_dot_product_attention";

struct Options {
  Tensor mask, lengths;
  double dropout_p;
  bool causal;
  std::optional<double> scale;
};

/// What a kernel reads, and what keeps it alive until the backward.
struct Call {
  Attention attention;
  Tensor mask, lengths, stream;
};

AttentionSteps steps_of(const Tensor& x) {
  const Shape strides = x.strides();
  return {strides[0], strides[1], strides[2]};
}

bool has_contiguous_rows(const Tensor& x) { return x.size(3) <= 1 || x.strides()[3] == 1; }
Tensor with_contiguous_rows(const Tensor& x) { return has_contiguous_rows(x) ? x : row_major(x); }

std::int64_t work_of(const Attention& a) {
  return a.batch * a.heads * a.queries * a.keys * (a.head_size + a.value_size);
}

/// The mask as the kernel reads it: broadcast by steps of 0.
void set_mask(const Tensor& given, Call& call) {
  if (!given) return;
  Attention& a = call.attention;
  NV_CHECK_TYPE(given.dtype() != DType::int64, kOp, "attn_mask must be boolean or float32, got int64");
  NV_CHECK(!given.requires_grad(), kOp, "attn_mask must not require a gradient here");
  const Shape full{a.batch, a.heads, a.queries, a.keys};
  NV_CHECK(given.rank() <= 4, kOp, "attn_mask must broadcast to ", full, ", got ", given.shape());
  Shape shape;
  for (int i = given.rank(); i < 4; ++i) shape.append(1);
  for (int i = 0; i < given.rank(); ++i) shape.append(given.size(i));
  for (int i = 0; i < 4; ++i)
    NV_CHECK(shape[i] == full[i] || shape[i] == 1, kOp, "attn_mask must broadcast to ", full, ", got ", given.shape());
  Tensor mask = row_major(reshape(given, shape.to_vector()));
  if (shape[3] != a.keys) {
    shape[3] = a.keys;
    mask = row_major(expand(mask, shape.to_vector()));
  }
  const Shape strides = core::strides_of(shape, mask.order());
  const auto step = [&](int dim) { return shape[dim] == 1 ? 0 : strides[dim]; };
  a.mask_steps = {step(0), step(1), step(2)};
  if (mask.dtype() == DType::boolean)
    a.allowed = mask.mask();
  else
    a.bias = mask.f32();
  call.mask = mask;
}

void set_lengths(const Tensor& lengths, Call& call) {
  if (!lengths) return;
  Attention& a = call.attention;
  core::check_dtype(kOp, "lengths", lengths, DType::int64);
  NV_CHECK(lengths.rank() == 1 && lengths.size(0) == a.batch, kOp, "lengths must be (", a.batch, "), got ",
           lengths.shape());
  call.lengths = clone(lengths.detach());  // the caller may change his before the backward
  for (std::int64_t i = 0; i < a.batch; ++i)
    NV_CHECK(call.lengths.i64()[i] >= 0 && call.lengths.i64()[i] <= a.keys, kOp, "lengths must lie in [0, ", a.keys,
             "], got ", call.lengths.i64()[i]);
  a.lengths = call.lengths.i64();
}

void set_dropout(double p, Call& call) {
  NV_CHECK(p >= 0 && p < 1, kOp, "dropout_p must be in [0, 1), got ", p);
  if (p == 0) return;
  Attention& a = call.attention;
  call.stream = random_stream(a.batch * a.heads * kernels::attention_numbers(a.queries, a.keys));
  a.stream = call.stream.i64();
  a.threshold = probability_threshold(p);
  a.keep_scale = static_cast<float>(1.0 / (1.0 - p));
}

void finish_call(const Options& options, Call& call) {
  Attention& a = call.attention;
  const double scale =
      options.scale.value_or(1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(a.head_size, 1))));
  NV_CHECK(std::isfinite(scale), kOp, "scale must be finite, got ", scale);
  a.scale = static_cast<float>(scale);
  a.causal = options.causal;
  set_mask(options.mask, call);
  set_lengths(options.lengths, call);
  set_dropout(options.dropout_p, call);
}

Tensor run_forward(const Attention& a, const Tensor& y) {
  const Tensor log_sum = Tensor::empty({a.batch, a.heads, a.queries});
  core::launch(work_of(a),
               [a, y = y.f32_out(), log_sum = log_sum.f32_out()] { kernels::attention_forward(a, y, log_sum); });
  return log_sum;
}

void check_operands(const Tensor& q, const Tensor& k, const Tensor& v) {
  for (const auto& [name, x] : {std::pair{"query", &q}, {"key", &k}, {"value", &v}})
    core::check_dtype(kOp, name, *x, DType::float32);
  const int r = q.rank();
  NV_CHECK(r >= 2, kOp, "query must be (..., T, D), got ", q.shape());
  const auto agree = [&](const Tensor& x) {
    if (x.rank() != r) return false;
    for (int i = 0; i < r - 2; ++i)
      if (x.size(i) != q.size(i)) return false;
    return true;
  };
  NV_CHECK(agree(k) && k.size(r - 1) == q.size(r - 1), kOp,
           "key must be (..., S, D) with the leading dimensions and D of ", q.shape(), ", got ", k.shape());
  NV_CHECK(agree(v) && v.size(r - 2) == k.size(r - 2), kOp,
           "value must be (..., S, Dv) with the leading dimensions of ", q.shape(), " and S = ", k.size(r - 2),
           ", got ", v.shape());
}

/// On (batch, heads, T, D).
Tensor attend(const Tensor& query, const Tensor& key, const Tensor& value, const Options& options) {
  const Tensor q = with_contiguous_rows(query), k = with_contiguous_rows(key), v = with_contiguous_rows(value);
  // Rows of q that are single numbers may lie in any order; those of y may not.
  const Order order = q.order()[3] == 3 ? q.order() : Order::row_major(4);
  const Tensor y = Tensor::empty({q.size(0), q.size(1), q.size(2), v.size(3)}, DType::float32, order);
  Call call{{q.size(0), q.size(1), q.size(2), k.size(2), q.size(3), v.size(3), q.f32(), k.f32(), v.f32(), steps_of(q),
             steps_of(k), steps_of(v), steps_of(y), 1.0f},
            {},
            {},
            {}};
  finish_call(options, call);
  const Tensor log_sum = run_forward(call.attention, y);
  if (core::needs_grad(q, k, v))
    core::record(kOp, y, {q, k, v}, core::saved(q.detach(), k.detach(), v.detach(), y.detach(), call.mask),
                 [call, log_sum](core::Gradients& g, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& y,
                                 const Tensor&) {
                   const Tensor dy = with_contiguous_rows(g.dy());
                   const Tensor dq = Tensor::empty_like(q), dk = Tensor::empty_like(k), dv = Tensor::empty_like(v);
                   const AttentionGradients gradients{y.f32(),      log_sum.f32(), dy.f32(),     steps_of(dy),
                                                      dq.f32_out(), dk.f32_out(),  dv.f32_out(), steps_of(dq),
                                                      steps_of(dk), steps_of(dv)};
                   core::launch(3 * work_of(call.attention),
                                [a = call.attention, gradients] { kernels::attention_backward(a, gradients); });
                   g.set(0, dq);
                   g.set(1, dk);
                   g.set(2, dv);
                 });
  return y;
}

/// Any number of leading dimensions as (batch, heads); a single one is the batch.
Dims four_dimensions(const Shape& x) {
  const int r = x.rank();
  std::int64_t batch = 1;
  for (int i = 0; i < r - 3; ++i) batch *= x[i];
  if (r == 3) return {x[0], 1, x[1], x[2]};
  return {batch, r > 2 ? x[r - 3] : 1, x[r - 2], x[r - 1]};
}

/// A mask that broadcasts to (..., T, S) of operands of any rank, for (batch, heads, T, S).
Tensor four_dimensional_mask(const Tensor& mask, const Tensor& query, const Tensor& key) {
  if (!mask || mask.rank() <= 2 || query.rank() == 4) return mask;
  Shape full = query.shape();
  full[full.rank() - 1] = key.size(key.rank() - 2);
  NV_CHECK(mask.rank() <= full.rank(), kOp, "attn_mask must broadcast to ", full, ", got ", mask.shape());
  const Dims dims = four_dimensions(full);
  if (full.rank() == 3) return reshape(mask, {mask.size(0), 1, mask.size(1), mask.size(2)});
  return reshape(row_major(expand(mask, full.to_vector())), dims);
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Tensor& attn_mask, const Tensor& lengths, double dropout_p, bool is_causal,
                                    std::optional<double> scale) {
  check_operands(query, key, value);
  const Options options{four_dimensional_mask(attn_mask, query, key), lengths, dropout_p, is_causal, scale};
  if (query.rank() == 4) return attend(query, key, value, options);
  const auto four = [](const Tensor& x) { return reshape(x, four_dimensions(x.shape())); };
  const Tensor y = attend(four(query), four(key), four(value), options);
  Dims shape = query.shape().to_vector();
  shape.back() = value.size(value.rank() - 1);
  return reshape(y, shape);
}

Tensor self_attention(const Tensor& packed, const Tensor& attn_mask, const Tensor& lengths, std::int64_t heads,
                      double dropout_p, bool is_causal, std::optional<double> scale) {
  constexpr const char* op = "self_attention";
  core::check_dtype(op, "input", packed, DType::float32);
  NV_CHECK(packed.rank() == 3 && packed.size(2) % 3 == 0, op, "input must be (B, T, 3 E), got ", packed.shape());
  const std::int64_t batch = packed.size(0), length = packed.size(1), width = packed.size(2) / 3;
  NV_CHECK(heads >= 1 && width % heads == 0, op, "heads must divide E = ", width, ", got ", heads);
  const Tensor x = row_major(packed);
  const std::int64_t size = width / heads;
  const AttentionSteps in{length * 3 * width, size, 3 * width}, out{length * width, size, width};
  const Tensor y = Tensor::empty({batch, length, width});
  const float* data = x.f32();
  Call call{{batch, heads, length, length, size, size, data, data + width, data + 2 * width, in, in, in, out, 1.0f},
            {},
            {},
            {}};
  finish_call({attn_mask, lengths, dropout_p, is_causal, scale}, call);
  const Tensor log_sum = run_forward(call.attention, y);
  if (core::needs_grad(x))
    core::record(op, y, {x}, core::saved(x.detach(), y.detach(), call.mask),
                 [call, log_sum, in, out, width](core::Gradients& g, const Tensor& x, const Tensor& y, const Tensor&) {
                   const Tensor dy = row_major(g.dy()), dx = Tensor::empty_like(x);
                   float* const d = dx.f32_out();
                   const AttentionGradients gradients{y.f32(),   log_sum.f32(), dy.f32(), out, d,
                                                      d + width, d + 2 * width, in,       in,  in};
                   core::launch(3 * work_of(call.attention),
                                [a = call.attention, gradients] { kernels::attention_backward(a, gradients); });
                   g.set(0, dx);
                 });
  return y;
}

Tensor attend_cached(const Tensor& packed, const Tensor& keys, const Tensor& values, std::int64_t length,
                     std::int64_t heads) {
  constexpr const char* op = "attend_cached";
  core::check_dtype(op, "input", packed, DType::float32);
  NV_CHECK(packed.rank() == 3 && packed.size(2) % 3 == 0, op, "input must be (B, T, 3 E), got ", packed.shape());
  const std::int64_t batch = packed.size(0), added = packed.size(1), width = packed.size(2) / 3;
  NV_CHECK(heads >= 1 && width % heads == 0, op, "heads must divide E = ", width, ", got ", heads);
  const KeyValueStore store = key_value_store(op, keys, values, batch, width, length, added);
  NV_CHECK(!core::share_memory(packed, keys) && !core::share_memory(packed, values), op,
           "input must not share memory with keys or values");
  const std::int64_t all = length + added;
  const Tensor x = row_major(packed.detach());
  const float* data = x.f32();
  const std::int64_t size = width / heads;
  const AttentionSteps in{added * 3 * width, size, 3 * width}, out{added * width, size, width};
  const AttentionSteps stored{store.capacity * width, size, width};
  const Tensor y = Tensor::empty({batch, added, width});
  core::writes_into(keys);
  core::writes_into(values);
  store.put(data, batch, added, width, length);
  Call call{{batch, heads, added, all, size, size, data, store.keys, store.values, in, stored, stored, out, 1.0f},
            {},
            {},
            {}};
  finish_call({{}, {}, 0.0, false, {}}, call);
  run_forward(call.attention, y);
  return y;
}

}  // namespace nervure::ops
