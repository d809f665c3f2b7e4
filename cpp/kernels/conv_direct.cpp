// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_direct.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv_job.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_pack.h"

namespace nervure::kernels::NV_ISA {
namespace {

/// A matrix of weights, [depth x outputs] of one group, into panels; rows [first, first + depth) of `all`.
void pack_weights(const float* b, std::int64_t ldb, bool transposed, std::int64_t depth, std::int64_t outputs,
                  const Panels& panels, std::int64_t first, std::int64_t all, float* packed) {
  std::int64_t column = 0;
  for (int s = 0; s < 2; ++s) {
    const std::int64_t width = static_cast<std::int64_t>(panels.vectors[s]) * kLanes;
    const std::int64_t columns = panels.count[s] * width;
    if (columns > 0)
      pack_b(b + (transposed ? column * ldb : column), ldb, transposed, depth, smaller(columns, outputs - column),
             panels.vectors[s], packed + first * width, all);
    column += columns;
    packed += columns * all;
  }
}

// ---- backward data ------------------------------------------------------------------------------------------------

/// Pixels that no tap reaches.
void fill_untouched(const ConvJob& job, const float* bias) {
  const std::int64_t channels = job.groups * job.outputs;
  core::parallel_for(job.images * job.sweep.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      for (std::int64_t j = 0; j < job.sweep.columns; ++j) {
        float* const to = job.target + row / job.sweep.rows * job.image_step + row % job.sweep.rows * job.row_step +
                          j * job.column_step;
        for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
          store_some(to + c, bias ? load_some(bias + c, count) : vf{}, count);
        });
        activate_rows(job.activation, 1, channels, to, 0);
      }
  });
}

class BackwardData {
 public:
  BackwardData(const Conv& v, const float* w)
      : v_(v),
        w_(w),
        weights_(static_cast<std::size_t>(v.R * v.S * v.K * ceil_div(v.group_inputs(), kLanes) * kLanes)),
        taps_(static_cast<std::size_t>(2 * (v.R + v.S))),
        runs_(static_cast<std::size_t>(v.R * v.S)) {}

  void phase(std::int64_t i, std::int64_t j, const float* dy, const float* bias, Activation activation, float* dx) {
    ConvJob job{};
    job.sweep = data_sweep(v_, i, j, taps_.get());
    job.images = v_.N;
    job.groups = v_.groups;
    job.outputs = v_.group_inputs();
    job.source = dy;
    job.bias = bias;
    job.activation = activation;
    job.target = dx + (i * v_.W + j) * v_.C;
    job.image_step = v_.H * v_.W * v_.C;
    job.row_step = v_.stride_h * v_.W * v_.C;
    job.column_step = v_.stride_w * v_.C;
    if (job.sweep.down.count * job.sweep.across.count == 0) return fill_untouched(job, bias);
    job.plan = plan_runs(job.sweep, v_.group_outputs());
    fill_runs(job.sweep, job.plan, runs_.get());
    job.offset = runs_.get();
    job.cut();
    pack(job);
    job.weights = weights_.get();
    run_job(job);
  }

 private:
  /// B[(tap, k), c] = w[tap, c, k].
  void pack(const ConvJob& job) {
    const std::int64_t depth = job.depth(), outputs = v_.group_outputs(), inputs = v_.group_inputs();
    const Taps &down = job.sweep.down, &across = job.sweep.across;
    core::parallel_for(v_.groups, larger(16 * 1024 / (depth * inputs), 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t g = begin; g < end; ++g)
        for (std::int64_t r = 0; r < down.count; ++r)
          for (std::int64_t s = 0; s < across.count; ++s)
            pack_weights(w_ + (down.number[r] * v_.S + across.number[s]) * inputs * v_.K + g * outputs, v_.K, true,
                         outputs, inputs, job.panels, (r * across.count + s) * outputs, depth,
                         weights_.get() + g * depth * job.padded_outputs());
    });
  }

  const Conv& v_;
  const float* w_;
  core::Scratch<float> weights_;
  core::Scratch<std::int64_t> taps_, runs_;
};

}  // namespace

void direct_forward(const Conv& v, const float* x, const float* w, const float* bias, Activation activation, float* y) {
  const core::Scratch<std::int64_t> taps(static_cast<std::size_t>(2 * (v.R + v.S) + v.R * v.S));
  ConvJob job{};
  job.sweep = forward_sweep(v, taps.get());
  job.images = v.N;
  job.groups = v.groups;
  job.outputs = v.group_outputs();
  job.source = x;
  job.bias = bias;
  job.activation = activation;
  job.target = y;
  job.image_step = v.P * v.Q * v.K;
  job.row_step = v.Q * v.K;
  job.column_step = v.K;
  job.plan = plan_runs(job.sweep, v.group_inputs());
  std::int64_t* const offset = taps.get() + 2 * (v.R + v.S);
  fill_runs(job.sweep, job.plan, offset);
  job.offset = offset;
  job.cut();

  const std::int64_t depth = v.depth(), padded = job.padded_outputs();
  const core::Scratch<float> weights(static_cast<std::size_t>(v.groups * depth * padded));
  core::parallel_for(v.groups, larger(16 * 1024 / (depth * padded), 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g)
      pack_weights(w + g * job.outputs, v.K, false, depth, job.outputs, job.panels, 0, depth,
                   weights.get() + g * depth * padded);
  });
  job.weights = weights.get();
  run_job(job);
}

void direct_backward_data(const Conv& v, const float* dy, const float* w, const float* bias, Activation activation,
                          float* dx) {
  BackwardData backward(v, w);
  for (std::int64_t i = 0; i < smaller(v.stride_h, v.H); ++i)
    for (std::int64_t j = 0; j < smaller(v.stride_w, v.W); ++j) backward.phase(i, j, dy, bias, activation, dx);
}

}  // namespace nervure::kernels::NV_ISA
