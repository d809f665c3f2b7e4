// SPDX-License-Identifier: BSD-3-Clause
#include <cmath>
#include <limits>

#include "core/launch.h"
#include "kernels/copy.h"
#include "ops/broadcast.h"

namespace nervure::ops {
namespace {

/// A value for an int64 tensor; fractions go towards zero, as in NumPy.
std::int64_t whole_number(const char* op, double value) {
  NV_CHECK(value >= -0x1p63 && value < 0x1p63, op, "an int64 tensor cannot hold ", value);
  return static_cast<std::int64_t>(value);
}

void write_all(const char* op, const Tensor& x, double value, bool is_new) {
  const std::int64_t whole = x.dtype() == DType::int64 ? whole_number(op, value) : 0;
  if (!is_new) core::writes_into(x);
  core::launch(x.numel(), [type = element_of(x.dtype()), to = x.data(), n = x.numel(), value, whole] {
    kernels::fill(type, to, n, value, whole);
  });
}

}  // namespace

void fill_(const Tensor& x, double value) { write_all("fill_", x, value, /*is_new=*/false); }

Tensor full(const Shape& shape, double value, DType dtype) {
  const Tensor y = Tensor::empty(shape, dtype);
  write_all("full", y, value, /*is_new=*/true);
  return y;
}

Tensor arange(double start, double end, double step, DType dtype) {
  NV_CHECK(std::isfinite(start) && std::isfinite(end) && std::isfinite(step) && step != 0.0, "arange",
           "start, end and step must be finite and step not zero, got ", start, ", ", end, ", ", step);
  NV_CHECK_TYPE(dtype != DType::boolean, "arange", "dtype must be float32 or int64, got ", dtype);
  const double length = std::max(0.0, std::ceil((end - start) / step));
  NV_CHECK(length < 0x1p48, "arange", "too many elements: ", length);
  const auto n = static_cast<std::int64_t>(length);
  const Tensor y = Tensor::empty(Shape{n}, dtype);
  if (dtype == DType::float32) {
    core::launch(n, [=, to = y.f32_out()] { kernels::arange_float(to, n, start, step); });
    return y;
  }
  const std::int64_t first = whole_number("arange", start), by = whole_number("arange", step);
  NV_CHECK(static_cast<double>(by) == step && static_cast<double>(first) == start, "arange",
           "start and step of an int64 range must be whole, got ", start, " and ", step);
  core::launch(n, [=, to = y.i64_out()] { kernels::arange_int(to, n, first, by); });
  return y;
}

}  // namespace nervure::ops
