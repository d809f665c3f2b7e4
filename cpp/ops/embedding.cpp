// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <utility>
#include <vector>

#include "core/launch.h"
#include "core/row_gradient.h"
#include "kernels/index.h"
#include "ops/ops.h"

namespace nervure::ops {
namespace {

/// A checked, private copy (n,). None counts from the end: -100 and the like stand for what is no row.
Tensor checked_rows(const Tensor& indices, std::int64_t size) {
  core::check_dtype("embedding", "indices", indices, DType::int64);
  const Tensor source = row_major(indices);
  const std::int64_t n = indices.numel();
  Tensor checked = Tensor::empty(Shape{n}, DType::int64);
  const std::int64_t bad = kernels::check_indices(source.i64(), n, size, /*from_end=*/false, checked.i64_out());
  NV_CHECK_INDEX(bad < 0, "embedding", "index ", source.i64()[bad], " is out of range for ", size, " rows");
  return checked;
}

/// Places 0 .. n - 1 in the order of rows[place], equal rows in the order of their places: by digits of 11 bits.
std::vector<std::int64_t> sorted_places(const std::int64_t* rows, std::int64_t n) {
  constexpr int kBits = 11;
  constexpr std::uint64_t kBuckets = 1 << kBits;
  std::vector<std::int64_t> places(static_cast<std::size_t>(n)), next(places.size());
  std::uint64_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    places[static_cast<std::size_t>(i)] = i;
    largest = std::max(largest, static_cast<std::uint64_t>(rows[i]));
  }
  for (int shift = 0; shift < 64 && largest >> shift != 0; shift += kBits) {
    const auto digit = [&](std::int64_t place) {
      return (static_cast<std::uint64_t>(rows[place]) >> shift) & (kBuckets - 1);
    };
    std::vector<std::size_t> start(kBuckets + 1);
    for (const std::int64_t place : places) ++start[digit(place) + 1];
    for (std::size_t b = 0; b < kBuckets; ++b) start[b + 1] += start[b];
    for (const std::int64_t place : places) next[start[digit(place)]++] = place;
    places.swap(next);
  }
  return places;
}

/// The rows that occur but for `padding_idx`, ascending; `number` (n,) becomes the place of each row among them, or -1.
Tensor touched_rows(const Tensor& rows, std::int64_t padding_idx, const Tensor& number) {
  const std::vector<std::int64_t> places = sorted_places(rows.i64(), rows.numel());
  std::vector<std::int64_t> touched;
  for (const std::int64_t place : places) {
    const std::int64_t row = rows.i64()[place];
    if (row != padding_idx && (touched.empty() || touched.back() != row)) touched.push_back(row);
    number.i64_out()[place] = row == padding_idx ? -1 : static_cast<std::int64_t>(touched.size()) - 1;
  }
  Tensor result = Tensor::empty(Shape{static_cast<std::int64_t>(touched.size())}, DType::int64);
  std::copy(touched.begin(), touched.end(), result.i64_out());
  return result;
}

/// (size, D): row k is the sum of the rows of dy with number k.
Tensor summed_rows(const Tensor& dy, const Tensor& number, std::int64_t size, std::int64_t features) {
  Tensor sums = Tensor::empty(Shape{size, features});
  const kernels::TakeShape s{1, size, features, number.numel()};
  core::launch(sums.numel() + dy.numel(), [=] { kernels::take_backward(s, dy.f32(), number.i64(), sums.f32_out()); });
  return sums;
}

Tensor sparse_gradient(const Tensor& dy, const Tensor& rows, std::int64_t padding_idx, const Shape& shape) {
  const Tensor number = Tensor::empty(rows.shape(), DType::int64);
  const Tensor touched = touched_rows(rows, padding_idx, number);
  return core::row_gradient(shape, touched, summed_rows(dy, number, touched.numel(), shape[1]));
}

Tensor full_gradient(const Tensor& dy, const Tensor& rows, std::int64_t padding_idx, const Shape& shape) {
  Tensor number = rows;
  if (padding_idx >= 0) {
    number = Tensor::empty(rows.shape(), DType::int64);
    std::replace_copy(rows.i64(), rows.i64() + rows.numel(), number.i64_out(), padding_idx, std::int64_t{-1});
  }
  return summed_rows(dy, number, shape[0], shape[1]);
}

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& indices, std::int64_t padding_idx, bool sparse) {
  core::check_dtype("embedding", "weight", weight, DType::float32);
  NV_CHECK(weight.rank() == 2, "embedding", "weight must be (rows, features), got ", weight.shape());
  NV_CHECK(indices.rank() < core::kMaxRank, "embedding", "indices must have fewer than ", core::kMaxRank,
           " dimensions, got ", indices.shape());
  NV_CHECK(padding_idx >= -1 && padding_idx < weight.size(0), "embedding", "padding_idx must be -1 or name one of ",
           weight.size(0), " rows, got ", padding_idx);
  const Tensor rows = checked_rows(indices, weight.size(0));
  const Tensor table = row_major(weight.detach());
  Shape shape = indices.shape();
  shape.append(weight.size(1));
  Tensor y = Tensor::empty(shape);
  const kernels::TakeShape s{1, weight.size(0), weight.size(1), rows.numel()};
  if (y.numel() > 0)
    core::launch(y.numel(), [=] {
      kernels::take_forward(s, static_cast<std::int64_t>(sizeof(float)), table.data(), rows.i64(), y.data());
    });
  if (core::needs_grad(weight))
    core::record("embedding", y, {weight}, core::saved(),
                 [rows, padding_idx, from = weight.shape(),
                  by_rows = sparse && weight.is_leaf() && weight.is_row_major()](core::Gradients& gradients) {
                   const Tensor dy = row_major(gradients.dy());
                   gradients.set(0, by_rows ? sparse_gradient(dy, rows, padding_idx, from)
                                            : full_gradient(dy, rows, padding_idx, from));
                 });
  return y;
}

}  // namespace nervure::ops
