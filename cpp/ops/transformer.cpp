// SPDX-License-Identifier: BSD-3-Clause
// Transformer layers as one operation, for decoding: every part is x + f(norm(x)), or norm(x + f(x)).
#include <algorithm>
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
using kernels::RowNorm;

constexpr const char* kOp = "transformer_step";
constexpr std::size_t kPart = 6;  // weights: of two products with their biases, and of the norm

/// Two products and a norm.
struct Part {
  Affine in, out;
  RowNorm norm;
};

struct Layer {
  Part own, other, network;  // `other` without the encoder's output: all zero
  KeyValueStore store;
  const float* sides;  // or null
};

struct Sizes {
  std::int64_t batch, steps, width, heads, length, memory;
  std::int64_t rows() const { return batch * steps; }
  std::int64_t head_size() const { return width / heads; }
};

class Stack {
 public:
  Stack(const Sizes& sizes, double eps, bool norm_first, kernels::Activation activation)
      : s_(sizes), eps_(eps), norm_first_(norm_first), activation_(activation) {}

  std::vector<Layer> layers;
  RowNorm last{};  // rows 0: none
  const std::int64_t* lengths = nullptr;

  std::int64_t work() const {
    std::int64_t weights = 0;
    for (const Layer& l : layers)
      for (const Part* p : {&l.own, &l.other, &l.network}) weights += p->in.in * p->in.out + p->out.in * p->out.out;
    return s_.rows() * weights;
  }

  std::int64_t floats() const {
    std::int64_t hidden = 4 * s_.width + s_.heads;  // queries, keys and values, what attention gives, its log-sums
    for (const Layer& l : layers) hidden = std::max(hidden, l.network.in.out);
    return s_.rows() * (s_.width + 3 + hidden);
  }

  /// `y` holds x at first; `buffer` has floats() floats.
  void run(float* y, float* buffer) const {
    float *const statistics = buffer + s_.rows() * s_.width, *const work = statistics + 3 * s_.rows();
    const auto part = [&](const Part& p, const auto& f) {
      const std::size_t bytes = static_cast<std::size_t>(s_.rows() * s_.width) * sizeof(float);
      if (norm_first_) {
        kernels::row_norm_forward(p.norm, eps_, y, buffer, statistics);
        f(p, buffer, y);
      } else {
        std::memcpy(buffer, y, bytes);
        f(p, y, buffer);
        kernels::row_norm_forward(p.norm, eps_, buffer, y, statistics);
      }
    };
    for (const Layer& layer : layers) {
      part(layer.own, [&](const Part& p, const float* z, float* sum) { attend_to_store(layer, p, z, work, sum); });
      if (layer.sides)
        part(layer.other, [&](const Part& p, const float* z, float* sum) { attend_to_sides(layer, p, z, work, sum); });
      part(layer.network, [&](const Part& p, const float* z, float* sum) {
        p.in.apply(s_.rows(), z, s_.width, {work, p.in.out}, false, activation_);
        p.out.apply(s_.rows(), work, p.in.out, {sum, s_.width}, true);
      });
    }
    if (last.rows == 0) return;
    std::memcpy(buffer, y, static_cast<std::size_t>(s_.rows() * s_.width) * sizeof(float));
    kernels::row_norm_forward(last, eps_, buffer, y, statistics);
  }

 private:
  Attention attention(std::int64_t keys, const float* q, std::int64_t q_row, const float* k, const float* v,
                      std::int64_t kv_batch, std::int64_t kv_row) const {
    const std::int64_t size = s_.head_size(), T = s_.steps;
    return {s_.batch,
            s_.heads,
            T,
            keys,
            size,
            size,
            q,
            k,
            v,
            {T * q_row, size, q_row},
            {kv_batch, size, kv_row},
            {kv_batch, size, kv_row},
            {T * s_.width, size, s_.width},
            static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)))};
  }

  void attend_to_store(const Layer& layer, const Part& p, const float* z, float* work, float* sum) const {
    const std::int64_t rows = s_.rows(), E = s_.width;
    float *const mixed = work + rows * 3 * E, *const log_sum = mixed + rows * E;
    p.in.apply(rows, z, E, {work, 3 * E});
    layer.store.put(work, s_.batch, s_.steps, E, s_.length);
    kernels::attention_forward(
        attention(s_.length + s_.steps, work, 3 * E, layer.store.keys, layer.store.values, layer.store.capacity * E, E),
        mixed, log_sum);
    p.out.apply(rows, mixed, E, {sum, E}, true);
  }

  void attend_to_sides(const Layer& layer, const Part& p, const float* z, float* work, float* sum) const {
    const std::int64_t rows = s_.rows(), E = s_.width;
    float *const mixed = work + rows * E, *const log_sum = mixed + rows * E;
    p.in.apply(rows, z, E, {work, E});
    Attention a = attention(s_.memory, work, E, layer.sides, layer.sides + E, s_.memory * 2 * E, 2 * E);
    a.lengths = lengths;
    kernels::attention_forward(a, mixed, log_sum);
    p.out.apply(rows, mixed, E, {sum, E}, true);
  }

  Sizes s_;
  double eps_;
  bool norm_first_;
  kernels::Activation activation_;
};

RowNorm norm_of(const Sizes& s, const Tensor* weights) {
  for (int i : {0, 1})
    if (weights[i]) {
      core::check_dtype(kOp, "norm", weights[i], DType::float32);
      NV_CHECK(weights[i].shape() == (Shape{s.width}), kOp, "a norm's weight and bias must be (", s.width, "), got ",
               weights[i].shape());
    }
  return {s.rows(), s.width, data_or_null(weights[0]), data_or_null(weights[1]), true};
}

/// hidden: -1 takes what the weight says.
Part part_of(const Sizes& s, const char* first, const char* second, const Tensor* weights, std::int64_t hidden,
             std::int64_t back) {
  const Affine in = affine(kOp, first, weights[0], weights[1], hidden, s.width);
  return {in, affine(kOp, second, weights[2], weights[3], s.width, back < 0 ? in.out : back), norm_of(s, weights + 4)};
}

Layer layer_of(const Sizes& s, const Tensor* weights, const Tensor& keys, const Tensor& values, const Tensor* sides) {
  const auto attention = [&](const Tensor* w) { return part_of(s, "in_proj", "out_proj", w, 3 * s.width, s.width); };
  Layer layer{};
  layer.own = attention(weights);
  layer.store = key_value_store(kOp, keys, values, s.batch, s.width, s.length, s.steps);
  weights += kPart;
  if (sides) {
    core::check_dtype(kOp, "sides", *sides, DType::float32);
    NV_CHECK(sides->shape() == (Shape{s.batch, s.memory, 2 * s.width}) && sides->is_row_major(), kOp, "sides must be (",
             s.batch, ", S, ", 2 * s.width, ") and row-major, got ", sides->shape());
    layer.other = attention(weights);
    layer.other.in = layer.other.in.outputs(0, s.width);
    layer.sides = sides->f32();
    weights += kPart;
  }
  layer.network = part_of(s, "linear1", "linear2", weights, -1, -1);
  return layer;
}

/// What layers write must be nobody else's: not another layer's, nor an encoder's keys and values.
void check_apart(const std::vector<Tensor>& keys, const std::vector<Tensor>& values, const std::vector<Tensor>& sides) {
  const std::vector<Tensor>* const lists[] = {&keys, &values};
  for (const auto* written : lists)
    for (std::size_t i = 0; i < written->size(); ++i) {
      bool apart = true;
      for (const auto* others : lists)
        for (std::size_t k = 0; k < i; ++k) apart &= !core::share_memory((*written)[i], (*others)[k]);
      for (const Tensor& side : sides) apart &= !core::share_memory((*written)[i], side);
      NV_CHECK(apart, kOp, "keys and values of layer ", i,
               " must not share memory with those of another, or with sides");
    }
}

}  // namespace

Tensor transformer_step(const Tensor& x, const std::vector<Tensor>& weights, double eps, bool norm_first,
                        std::int64_t heads, const std::string& activation, const std::vector<Tensor>& keys,
                        const std::vector<Tensor>& values, std::int64_t length, const std::vector<Tensor>& sides,
                        const Tensor& lengths) {
  core::check_dtype(kOp, "input", x, DType::float32);
  NV_CHECK(x.rank() == 3 && x.size(2) > 0, kOp, "input must be (B, T, E), got ", x.shape());
  const std::size_t count = keys.size(), each = (sides.empty() ? 2 : 3) * kPart;
  NV_CHECK(values.size() == count && (sides.empty() || sides.size() == count), kOp,
           "expected keys, values and sides (or no sides) for every layer, got ", count, ", ", values.size(), " and ",
           sides.size());
  NV_CHECK(weights.size() == count * each || weights.size() == count * each + 2, kOp, "weights must be ", each,
           " for each of ", count, " layers, and two of a norm at the end or not, got ", weights.size());
  const Sizes s{x.size(0), x.size(1), x.size(2),
                heads,     length,    sides.empty() || sides[0].rank() < 2 ? 0 : sides[0].size(1)};
  NV_CHECK(heads >= 1 && s.width % heads == 0, kOp, "heads must divide E = ", s.width, ", got ", heads);
  Stack stack(s, eps, norm_first, parse_activation(kOp, activation));
  stack.layers.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    stack.layers.push_back(
        layer_of(s, weights.data() + i * each, keys[i], values[i], sides.empty() ? nullptr : &sides[i]));
  if (weights.size() > count * each) stack.last = norm_of(s, weights.data() + count * each);
  if (lengths) {
    NV_CHECK(!sides.empty(), kOp, "lengths are of the keys in sides, which are missing");
    check_lengths(kOp, lengths, s.batch, s.memory);
    stack.lengths = lengths.i64();
  }
  if (s.steps > 0) check_apart(keys, values, sides);
  const Tensor y = clone(row_major(x.detach())), buffer = Tensor::empty({stack.floats()});
  for (std::size_t i = 0; i < count; ++i) {
    core::writes_into(keys[i]);
    core::writes_into(values[i]);
  }
  if (s.rows() > 0)
    core::launch(stack.work(), [&stack, y = y.f32_out(), buffer = buffer.f32_out()] { stack.run(y, buffer); });
  return y;
}

}  // namespace nervure::ops
