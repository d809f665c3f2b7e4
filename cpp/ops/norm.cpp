// SPDX-License-Identifier: BSD-3-Clause
// Normalisation by statistics of channels: batch, group and instance. Everything lies channels-last; other inputs are
// converted.
#include <algorithm>

#include "core/launch.h"
#include "kernels/channel_norm.h"
#include "ops/images.h"

namespace nervure::ops {
namespace {

using kernels::ChannelNorm;
using kernels::NormStatistics;
using kernels::NormStatisticsOut;

void check_vector(const char* op, const char* what, const Tensor& v, std::int64_t channels) {
  if (!v) return;
  core::check_dtype(op, what, v, DType::float32);
  NV_CHECK(v.rank() == 1 && v.size(0) == channels, op, what, " must be ", Shape{channels}, ", got ", v.shape());
}

const float* data_or_null(const Tensor& t) { return t ? t.f32() : nullptr; }

/// What a layer works on: x channels-last, and the parameters.
struct Layer {
  const char* op;
  Tensor x, weight, bias;
  std::int64_t instances, groups;
  bool relu;

  std::int64_t channels() const { return x.size(1); }
  std::int64_t rows() const { return channels() ? x.numel() / channels() / instances : 0; }
  std::int64_t work() const { return 4 * x.numel(); }
  ChannelNorm norm() const {
    return {instances, rows(), channels(), groups, data_or_null(weight), data_or_null(bias), relu};
  }
};

/// mean, tail and rstd, and the variance behind them, of every group of every instance.
struct Statistics {
  Tensor all;
  std::int64_t n = 0;
  bool own = true;  // computed from x

  static Statistics empty(std::int64_t n) { return {Tensor::empty({4, n}), n, true}; }
  NormStatisticsOut out() const {
    float* const p = all.f32_out();
    return {p, p + n, p + 2 * n, p + 3 * n};
  }
  NormStatistics in() const {
    const float* const p = all.f32();
    return {p, p + n, p + 2 * n};
  }
};

/// Those that running averages give.
Statistics from_running(const Tensor& mean, const Tensor& variance, double eps) {
  Statistics statistics = Statistics::empty(mean.numel());
  statistics.own = false;
  core::launch(statistics.n, [out = statistics.out(), n = statistics.n, eps, mean = mean.f32(), var = variance.f32()] {
    for (std::int64_t i = 0; i < n; ++i) {
      out.mean[i] = mean[i];
      out.tail[i] = 0.0f;
    }
    kernels::reciprocal_deviation(n, eps, var, out.rstd);
  });
  return statistics;
}

void backward(const Layer& layer, const Statistics& statistics, core::Gradients& g) {
  const Tensor dy = to_order(g.dy(), layer.x.order());
  const Tensor dx = g.wants(0) ? Tensor::empty_like(layer.x) : Tensor();
  const Tensor dweight = g.wants(1) ? Tensor::empty({layer.channels()}) : Tensor();
  const Tensor dbias = g.wants(2) ? Tensor::empty({layer.channels()}) : Tensor();
  const auto out = [](const Tensor& t) { return t ? t.f32_out() : nullptr; };
  if (layer.x.numel() == 0) {
    if (dweight) fill_(dweight, 0.0);
    if (dbias) fill_(dbias, 0.0);
  }
  core::launch(2 * layer.work(), [norm = layer.norm(), in = statistics.in(), own = statistics.own, x = layer.x.f32(),
                                  dy = dy.f32(), dx = out(dx), dweight = out(dweight), dbias = out(dbias)] {
    if (norm.rows > 0) kernels::channel_norm_backward(norm, in, own, x, dy, dx, dweight, dbias);
  });
  if (dx) g.set(0, dx);
  if (dweight) g.set(1, dweight);
  if (dbias) g.set(2, dbias);
}

/// y by statistics of its own (computed here) or given ones.
Tensor normalised(const Tensor& input, const Layer& layer, const Statistics& statistics, double eps) {
  const Tensor y = Tensor::empty(layer.x.shape(), DType::float32, layer.x.order());
  core::launch(layer.work(), [norm = layer.norm(), statistics = statistics.out(), in = statistics.in(),
                              own = statistics.own, eps, x = layer.x.f32(), y = y.f32_out()] {
    if (own && norm.rows > 0)
      kernels::channel_norm_forward(norm, eps, x, y, statistics);
    else if (!own && norm.rows > 0)
      kernels::channel_norm_apply(norm, in, x, y);
  });
  if (core::needs_grad(input, layer.weight, layer.bias)) {
    Layer saved = layer;
    saved.x = layer.x.detach();
    if (layer.weight) saved.weight = layer.weight.detach();
    if (layer.bias) saved.bias = layer.bias.detach();
    // Where ReLU was is seen by computing its input again.
    const bool reads_weight = layer.relu || input.requires_grad();
    core::record(layer.op, y, {input, layer.weight, layer.bias},
                 core::saved(saved.x, reads_weight ? saved.weight : Tensor(), layer.relu ? saved.bias : Tensor()),
                 [saved, statistics](core::Gradients& g) { backward(saved, statistics, g); });
  }
  return y;
}

/// running = (1 - momentum) running + momentum * (what was found, the variance unbiased). Without elements: unchanged.
void update_running(const Layer& layer, const Statistics& statistics, const Tensor& running_mean,
                    const Tensor& running_var, double momentum) {
  if (layer.x.numel() == 0) return;
  if (running_mean) core::writes_into(running_mean);
  if (running_var) core::writes_into(running_var);
  const auto count = static_cast<double>(layer.rows());
  core::launch(2 * statistics.n,
               [out = statistics.out(), instances = layer.instances, channels = layer.channels(), momentum,
                unbiased = count / (count - 1.0), mean = running_mean ? running_mean.f32_out() : nullptr,
                variance = running_var ? running_var.f32_out() : nullptr] {
                 if (mean) kernels::update_running(instances, channels, momentum, 1.0, out.mean, mean);
                 if (variance) kernels::update_running(instances, channels, momentum, unbiased, out.variance, variance);
               });
}

void check_running(const char* op, const Tensor& running_mean, const Tensor& running_var, std::int64_t channels,
                   bool needed) {
  check_vector(op, "running_mean", running_mean, channels);
  check_vector(op, "running_var", running_var, channels);
  NV_CHECK(!needed || (running_mean && running_var), op, "without training, running_mean and running_var are needed");
}

bool relu_of(const char* op, const std::string& activation) {
  NV_CHECK(activation.empty() || activation == "relu", op, "activation must be \"\" or \"relu\", got \"", activation,
           "\"");
  return activation == "relu";
}

Layer layer_of(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  NV_CHECK(x.rank() >= 2, op, "input must be (N, C, ...), got ", x.shape());
  check_vector(op, "weight", weight, x.size(1));
  check_vector(op, "bias", bias, x.size(1));
  return {op, as_float_in_order(x, Order::channels_last(x.rank())), weight, bias, 1, x.size(1), false};
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps, const std::string& activation) {
  constexpr const char* op = "batch_norm";
  Layer layer = layer_of(op, x, weight, bias);
  layer.relu = relu_of(op, activation);
  check_running(op, running_mean, running_var, layer.channels(), !training);
  if (!training) return normalised(x, layer, from_running(running_mean, running_var, eps), eps);
  NV_CHECK(layer.rows() != 1, op, "expected more than 1 value per channel when training, got input ", x.shape());
  const Statistics statistics = Statistics::empty(layer.channels());
  const Tensor y = normalised(x, layer, statistics, eps);
  update_running(layer, statistics, running_mean, running_var, momentum);
  return y;
}

Tensor instance_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                     const Tensor& bias, bool use_input_stats, double momentum, double eps) {
  constexpr const char* op = "instance_norm";
  Layer layer = layer_of(op, x, weight, bias);
  check_running(op, running_mean, running_var, layer.channels(), !use_input_stats);
  if (!use_input_stats) return normalised(x, layer, from_running(running_mean, running_var, eps), eps);
  layer.instances = std::max<std::int64_t>(x.size(0), 1);
  NV_CHECK(layer.rows() != 1 || x.numel() == 0, op, "expected more than 1 spatial element when training, got input ",
           x.shape());
  const Statistics statistics = Statistics::empty(layer.instances * layer.channels());
  const Tensor y = normalised(x, layer, statistics, eps);
  update_running(layer, statistics, running_mean, running_var, momentum);
  return y;
}

Tensor group_norm(const Tensor& x, std::int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps) {
  constexpr const char* op = "group_norm";
  NV_CHECK(num_groups >= 1, op, "num_groups must be at least 1, got ", num_groups);
  Layer layer = layer_of(op, x, weight, bias);
  NV_CHECK(layer.channels() % num_groups == 0, op, "the number of channels must be a multiple of num_groups, got ",
           layer.channels(), " and ", num_groups);
  layer.groups = num_groups;
  layer.instances = std::max<std::int64_t>(x.size(0), 1);
  return normalised(x, layer, Statistics::empty(layer.instances * num_groups), eps);
}

}  // namespace nervure::ops
