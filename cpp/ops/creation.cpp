// SPDX-License-Identifier: BSD-3-Clause
#include <cmath>
#include <limits>

#include "core/launch.h"
#include "kernels/copy.h"
#include "ops/broadcast.h"

namespace nervure::ops {
namespace {

double real_number(const Number& number) {
  return std::visit([](auto value) { return static_cast<double>(value); }, number);
}

/// A value for an int64 tensor; fractions go towards zero, as in NumPy.
std::int64_t whole_number(const char* op, const Number& number) {
  if (const auto* whole = std::get_if<std::int64_t>(&number)) return *whole;
  const double value = std::get<double>(number);
  NV_CHECK(value >= -0x1p63 && value < 0x1p63, op, "an int64 tensor cannot hold ", value);
  return static_cast<std::int64_t>(value);
}

void write_all(const char* op, const Tensor& x, const Number& number, bool is_new) {
  const std::int64_t whole = x.dtype() == DType::int64 ? whole_number(op, number) : 0;
  const double value = real_number(number);
  if (!is_new) core::writes_into(x);
  core::launch(x.numel(), [type = element_of(x.dtype()), to = x.data(), n = x.numel(), value, whole] {
    kernels::fill(type, to, n, value, whole);
  });
}

/// How many of start, start + step, ... lie before end.
std::int64_t steps_between(std::int64_t start, std::int64_t end, std::int64_t step) {
  if (step > 0 ? start >= end : start <= end) return 0;
  const auto number = [](std::int64_t x) {
    return static_cast<std::uint64_t>(x);
  };  // whose differences do not overflow
  const std::uint64_t distance = step > 0 ? number(end) - number(start) : number(start) - number(end);
  const std::uint64_t length = (distance - 1) / (step > 0 ? number(step) : 0 - number(step)) + 1;
  NV_CHECK(length < std::uint64_t{1} << 48, "arange", "too many elements: ", length);
  return static_cast<std::int64_t>(length);
}

Tensor integer_range(std::int64_t n, std::int64_t start, std::int64_t step) {
  const Tensor y = Tensor::empty(Shape{n}, DType::int64);
  core::launch(n, [=, to = y.i64_out()] { kernels::arange_int(to, n, start, step); });
  return y;
}

}  // namespace

void fill_(const Tensor& x, const Number& value) { write_all("fill_", x, value, /*is_new=*/false); }

Tensor full(const Shape& shape, const Number& value, DType dtype) {
  const Tensor y = Tensor::empty(shape, dtype);
  write_all("full", y, value, /*is_new=*/true);
  return y;
}

Tensor arange(const Number& first, const Number& limit, const Number& by, DType dtype) {
  const double start = real_number(first), end = real_number(limit), step = real_number(by);
  NV_CHECK(std::isfinite(start) && std::isfinite(end) && std::isfinite(step) && step != 0.0, "arange",
           "start, end and step must be finite and step not zero, got ", start, ", ", end, ", ", step);
  NV_CHECK_TYPE(dtype != DType::boolean, "arange", "dtype must be float32 or int64, got ", dtype);
  const bool whole = first.index() == 0 && limit.index() == 0 && by.index() == 0;
  if (whole && dtype == DType::int64) {
    const std::int64_t from = std::get<0>(first), apart = std::get<0>(by);
    return integer_range(steps_between(from, std::get<0>(limit), apart), from, apart);
  }
  const double length = std::max(0.0, std::ceil((end - start) / step));
  NV_CHECK(length < 0x1p48, "arange", "too many elements: ", length);
  const auto n = static_cast<std::int64_t>(length);
  if (dtype == DType::float32) {
    const Tensor y = Tensor::empty(Shape{n});
    core::launch(n, [=, to = y.f32_out()] { kernels::arange_float(to, n, start, step); });
    return y;
  }
  const std::int64_t from = whole_number("arange", first), apart = whole_number("arange", by);
  NV_CHECK(static_cast<double>(apart) == step && static_cast<double>(from) == start, "arange",
           "start and step of an int64 range must be whole, got ", start, " and ", step);
  return integer_range(n, from, apart);
}

}  // namespace nervure::ops
