// SPDX-License-Identifier: BSD-3-Clause
// Pooling over one or two spatial dimensions, as many as the window has sizes. Everything lies channels-last; other
// inputs are converted.
#include "ops/pool.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/launch.h"
#include "ops/images.h"

namespace nervure::ops {
namespace {

using kernels::Places;
using kernels::PlacesOut;
using kernels::Pool;
using kernels::PoolAxis;
using kernels::PoolDivisor;

constexpr std::int64_t kLargest = (std::int64_t{1} << 31) - 1;  // window, stride, dilation or output

/// A pooling problem: the geometry, and how its input and output lie.
struct Plan {
  Pool pool;
  Order order;
  Shape output;
};

/// Which dimension of x is axis `i` of the window.
int dim_of(const Tensor& x, int spatial, int i) { return x.rank() - spatial + i; }

void check_input(const char* op, const Tensor& x, int spatial) {
  NV_CHECK(spatial == 1 || spatial == 2, op, "windows have 1 or 2 dimensions, got ", spatial);
  NV_CHECK(x.rank() == spatial + 1 || x.rank() == spatial + 2, op, "input must be ",
           spatial == 2 ? "(N, C, H, W) or (C, H, W)" : "(N, C, L) or (C, L)", ", got ", x.shape());
  for (int i = 0; i <= spatial; ++i)
    NV_CHECK(x.size(x.rank() - 1 - i) > 0, op, "only the batch may be empty, got ", x.shape());
}

/// Number `i` of an argument that is one number for all axes, or one for each.
std::int64_t nth(const char* op, const char* what, const Dims& values, int spatial, int i) {
  NV_CHECK(values.size() == 1 || static_cast<int>(values.size()) == spatial, op, what, " must be one number or ",
           spatial, ", got ", values.size());
  return values[values.size() == 1 ? 0 : static_cast<std::size_t>(i)];
}

/// PyTorch's rule: rounded up, but no window starts in the padding behind the input.
std::int64_t output_size(const PoolAxis& axis, bool ceil_mode) {
  const std::int64_t room = axis.in + 2 * axis.padding - axis.dilation * (axis.kernel - 1) - 1;
  if (room < 0 && !(ceil_mode && room + axis.stride > 0)) return 0;
  std::int64_t out = (room + (ceil_mode ? axis.stride - 1 : 0)) / axis.stride + 1;
  if (ceil_mode && (out - 1) * axis.stride >= axis.in + axis.padding) --out;
  return out;
}

struct WindowSizes {
  const Dims &kernel, &stride, &padding, &dilation;
};

Plan plan_of(const char* op, const Tensor& x, int spatial, const PoolAxis* axes) {
  const bool batched = x.rank() == spatial + 2;
  Plan plan{{batched ? x.size(0) : 1, x.size(batched ? 1 : 0), {}, axes[spatial - 1]},
            order_with_channels_last(x.rank(), spatial),
            x.shape()};
  if (spatial == 2) plan.pool.height = axes[0];
  for (int i = 0; i < spatial; ++i) plan.output[dim_of(x, spatial, i)] = axes[i].out;
  core::check_shape(op, plan.output);
  check_window_size(op, plan.pool);
  return plan;
}

Plan plan_windows(const char* op, const Tensor& x, const WindowSizes& sizes, bool ceil_mode) {
  const int spatial = static_cast<int>(sizes.kernel.size());
  check_input(op, x, spatial);
  PoolAxis axes[2];
  for (int i = 0; i < spatial; ++i) {
    const std::int64_t kernel = sizes.kernel[static_cast<std::size_t>(i)];
    axes[i] = pool_axis(op, x.size(dim_of(x, spatial, i)), kernel,
                        sizes.stride.empty() ? kernel : nth(op, "stride", sizes.stride, spatial, i),
                        nth(op, "padding", sizes.padding, spatial, i), nth(op, "dilation", sizes.dilation, spatial, i),
                        ceil_mode);
  }
  return plan_of(op, x, spatial, axes);
}

/// Windows that divide the input into `output_size` parts; equal parts are ordinary windows.
Plan plan_adaptive(const char* op, const Tensor& x, const Dims& output_size) {
  const int spatial = static_cast<int>(output_size.size());
  check_input(op, x, spatial);
  PoolAxis axes[2];
  for (int i = 0; i < spatial; ++i) {
    PoolAxis& axis = axes[i];
    axis.in = x.size(dim_of(x, spatial, i));
    axis.out = output_size[static_cast<std::size_t>(i)];
    NV_CHECK(axis.out >= 1 && axis.out <= kLargest, op, "output sizes must be at least 1 and below 2^31, got ",
             axis.out);
    axis.adaptive = axis.in % axis.out != 0;
    if (!axis.adaptive) {
      axis.kernel = axis.stride = axis.in / axis.out;
      continue;
    }
    // Window o has ceil((o in mod out + in) / out) inputs, and o in mod out takes all multiples of gcd(in, out).
    axis.kernel = (axis.in + 2 * axis.out - std::gcd(axis.in, axis.out) - 1) / axis.out;
  }
  return plan_of(op, x, spatial, axes);
}

// ---- maximum --------------------------------------------------------------------------------------------------------

Tensor empty_places(const Plan& plan) {
  const std::int64_t n = plan.pool.output_size();
  // Bytes are kept as booleans, words as the halves of 64-bit integers.
  return plan.pool.places_fit_bytes() ? Tensor::empty({n}, DType::boolean) : Tensor::empty({(n + 1) / 2}, DType::int64);
}

PlacesOut places_out(const Plan& plan, const Tensor& places) {
  if (!places) return {};
  if (plan.pool.places_fit_bytes()) return {places.mask_out(), nullptr};
  return {nullptr, static_cast<std::int32_t*>(places.data())};
}

Places places_in(const Plan& plan, const Tensor& places) {
  const PlacesOut out = places_out(plan, places);
  return {out.bytes, out.words};
}

Tensor indices_of(const Plan& plan, const Tensor& places) {
  const Tensor indices = Tensor::empty(plan.output, DType::int64, plan.order);
  core::launch(2 * indices.numel(), [pool = plan.pool, places = places_in(plan, places), out = indices.i64_out()] {
    kernels::max_pool_indices(pool, places, out);
  });
  return indices;
}

std::pair<Tensor, Tensor> max_of(const char* op, const Plan& plan, const Tensor& input, bool wants_indices) {
  const Tensor x = as_float_in_order(input, plan.order);
  const Tensor y = Tensor::empty(plan.output, DType::float32, plan.order);
  const bool recorded = core::needs_grad(input);
  const Tensor places = recorded || wants_indices ? empty_places(plan) : Tensor();
  const std::int64_t work = y.numel() * std::min<std::int64_t>(plan.pool.window_size(), x.numel() + 1);
  core::launch(work, [pool = plan.pool, places = places_out(plan, places), x = x.f32(), y = y.f32_out()] {
    kernels::max_pool_forward(pool, x, y, places);
  });
  if (recorded)
    core::record(op, y, {input}, core::saved(), [plan, places, shape = x.shape()](core::Gradients& g) {
      const Tensor dy = to_order(g.dy(), plan.order), dx = Tensor::empty(shape, DType::float32, plan.order);
      core::launch(2 * dx.numel(), [pool = plan.pool, places = places_in(plan, places), dy = dy.f32(),
                                    dx = dx.f32_out()] { kernels::max_pool_backward(pool, dy, places, dx); });
      g.set(0, dx);
    });
  return {y, wants_indices ? indices_of(plan, places) : Tensor()};
}

// ---- average --------------------------------------------------------------------------------------------------------

Tensor average_of(const char* op, const Plan& plan, const Tensor& input, const PoolDivisor& divisor) {
  const Tensor x = as_float_in_order(input, plan.order);
  const Tensor y = Tensor::empty(plan.output, DType::float32, plan.order);
  const std::int64_t work = y.numel() * std::min<std::int64_t>(plan.pool.window_size(), x.numel() + 1);
  core::launch(work, [pool = plan.pool, divisor, x = x.f32(), y = y.f32_out()] {
    kernels::average_pool_forward(pool, divisor, x, y);
  });
  if (core::needs_grad(input))
    core::record(op, y, {input}, core::saved(), [plan, divisor, shape = x.shape()](core::Gradients& g) {
      const Tensor dy = to_order(g.dy(), plan.order), dx = Tensor::empty(shape, DType::float32, plan.order);
      core::launch(2 * dx.numel(), [pool = plan.pool, divisor, dy = dy.f32(), dx = dx.f32_out()] {
        kernels::average_pool_backward(pool, divisor, dy, dx);
      });
      g.set(0, dx);
    });
  return y;
}

}  // namespace

PoolAxis pool_axis(const char* op, std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                   std::int64_t dilation, bool ceil_mode) {
  NV_CHECK(kernel >= 1 && stride >= 1 && dilation >= 1, op, "kernel_size, stride and dilation must be at least 1, got ",
           kernel, ", ", stride, " and ", dilation);
  NV_CHECK(kernel <= kLargest && stride <= kLargest && dilation <= kLargest, op,
           "kernel_size, stride and dilation must be below 2^31");
  const std::int64_t reach = (kernel - 1) * dilation + 1;
  NV_CHECK(padding >= 0 && padding <= reach / 2, op, "padding must be from 0 to half of the window (", reach, "), got ",
           padding);
  PoolAxis axis{in, 0, kernel, stride, padding, dilation, false};
  axis.out = output_size(axis, ceil_mode);
  NV_CHECK(axis.out >= 1, op, "a window of ", reach, " does not fit into the padded input of ", in + 2 * padding);
  return axis;
}

void check_window_size(const char* op, const Pool& pool) {
  NV_CHECK(pool.window_size() <= INT32_MAX, op, "a window may have up to 2^31 - 1 elements");
}

Tensor max_pool(const Tensor& x, const Dims& kernel_size, const Dims& stride, const Dims& padding, const Dims& dilation,
                bool ceil_mode) {
  const Plan plan = plan_windows("max_pool", x, {kernel_size, stride, padding, dilation}, ceil_mode);
  return max_of("max_pool", plan, x, false).first;
}

std::tuple<Tensor, Tensor> max_pool_with_indices(const Tensor& x, const Dims& kernel_size, const Dims& stride,
                                                 const Dims& padding, const Dims& dilation, bool ceil_mode) {
  const char* op = "max_pool_with_indices";
  const Plan plan = plan_windows(op, x, {kernel_size, stride, padding, dilation}, ceil_mode);
  return max_of(op, plan, x, true);
}

Tensor avg_pool(const Tensor& x, const Dims& kernel_size, const Dims& stride, const Dims& padding, bool ceil_mode,
                bool count_include_pad, std::optional<std::int64_t> divisor_override) {
  const Plan plan = plan_windows("avg_pool", x, {kernel_size, stride, padding, {1}}, ceil_mode);
  NV_CHECK(!divisor_override || *divisor_override != 0, "avg_pool", "divisor_override must not be 0");
  return average_of("avg_pool", plan, x, {count_include_pad, divisor_override.value_or(0)});
}

Tensor adaptive_avg_pool(const Tensor& x, const Dims& output_size) {
  return average_of("adaptive_avg_pool", plan_adaptive("adaptive_avg_pool", x, output_size), x, {});
}

Tensor adaptive_max_pool(const Tensor& x, const Dims& output_size) {
  return max_of("adaptive_max_pool", plan_adaptive("adaptive_max_pool", x, output_size), x, false).first;
}

std::tuple<Tensor, Tensor> adaptive_max_pool_with_indices(const Tensor& x, const Dims& output_size) {
  const char* op = "adaptive_max_pool_with_indices";
  return max_of(op, plan_adaptive(op, x, output_size), x, true);
}

}  // namespace nervure::ops
