// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <optional>
#include <utility>

#include "ops/ops.h"
#include "ops/region.h"

namespace nervure::ops {
namespace {

using core::normalize_dim;

Dims to_dims(const Shape& shape) { return shape.to_vector(); }

/// The shape asked for, its -1 replaced.
Shape resolve_shape(const char* op, const Shape& from, const Dims& wanted) {
  int free_dim = -1;
  Shape shape(wanted), known_sizes = shape;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != -1) continue;
    NV_CHECK(free_dim < 0, op, "only one size may be -1, got ", shape);
    free_dim = i;
    known_sizes[i] = 1;
  }
  // Before the product is looked at: one that wraps could equal the number of elements.
  core::check_shape(op, known_sizes);
  const std::int64_t n = from.numel(), known = known_sizes.numel();
  const bool fits = free_dim < 0 ? known == n : known > 0 && n % known == 0;
  NV_CHECK(fits, op, "cannot give ", n, " elements of shape ", from, " the shape ", shape);
  if (free_dim >= 0) shape[free_dim] = n / known;
  return shape;
}

/// A run of old dimensions and the run of new ones that takes its place; dimensions of size 1 are in neither.
struct Run {
  std::vector<int> from, to;
};

std::vector<int> long_dims(const Shape& shape) {
  std::vector<int> dims;
  for (int i = 0; i < shape.rank(); ++i)
    if (shape[i] != 1) dims.push_back(i);
  return dims;
}

/// The shortest runs with equal numbers of elements. Both shapes have the same number of elements, not 0.
std::vector<Run> match_runs(const Shape& from, const Shape& to) {
  const std::vector<int> old_dims = long_dims(from), new_dims = long_dims(to);
  std::vector<Run> runs;
  for (std::size_t i = 0, j = 0; i < old_dims.size();) {
    Run run{{old_dims[i]}, {new_dims[j]}};
    std::int64_t n_old = from[old_dims[i++]], n_new = to[new_dims[j++]];
    while (n_old != n_new) {
      if (n_old < n_new) {
        n_old *= from[old_dims[i]];
        run.from.push_back(old_dims[i++]);
      } else {
        n_new *= to[new_dims[j]];
        run.to.push_back(new_dims[j++]);
      }
    }
    runs.push_back(std::move(run));
  }
  return runs;
}

/// The memory order under which an array of shape `from` and order `order` is, in place, one of shape `to`: there is
/// one when the dimensions of each run lie in memory next to each other and in order.
std::optional<Order> order_of_view(const Shape& from, const Order& order, const Shape& to) {
  if (from.numel() == 0 || core::same_layout(from, order, Order::row_major(from.rank())))
    return Order::row_major(to.rank());
  std::vector<int> in_memory;
  for (int place = 0; place < order.rank(); ++place)
    if (from[order[place]] != 1) in_memory.push_back(order[place]);

  const std::vector<Run> runs = match_runs(from, to);
  Order result = Order::row_major(to.rank());
  int place = 0;
  for (int i = 0; i < to.rank(); ++i)
    if (to[i] == 1) result[place++] = i;
  for (std::size_t at = 0; at < in_memory.size();) {
    const auto run = std::find_if(runs.begin(), runs.end(), [&](const Run& r) { return r.from[0] == in_memory[at]; });
    if (run == runs.end() || at + run->from.size() > in_memory.size() ||
        !std::equal(run->from.begin(), run->from.end(), in_memory.begin() + static_cast<std::ptrdiff_t>(at)))
      return std::nullopt;
    for (int dim : run->to) result[place++] = dim;
    at += run->from.size();
  }
  return result;
}

/// The same elements under `shape`, not recorded: a view, or of a row-major copy.
Tensor reshaped(const Tensor& x, const Shape& shape) {
  if (const auto order = order_of_view(x.shape(), x.order(), shape)) return x.view_as(shape, *order);
  const core::NoGrad no_grad;
  return row_major(x).view_as(shape, Order::row_major(shape.rank()));
}

Tensor reshape_to(const char* name, const Tensor& x, const Shape& shape) {
  if (shape == x.shape()) return x;
  Tensor y = reshaped(x, shape);
  if (core::needs_grad(x))
    core::record(name, y, {x}, core::saved(), [shape = x.shape()](core::Gradients& gradients) {
      gradients.set(0, reshaped(gradients.dy(), shape));
    });
  return y;
}

Tensor permuted(const Tensor& x, const std::vector<int>& dims) {
  Shape shape = x.shape();
  Order order = x.order();
  std::vector<int> new_dim(dims.size());
  for (int i = 0; i < x.rank(); ++i) {
    const int old_dim = dims[static_cast<std::size_t>(i)];
    shape[i] = x.size(old_dim);
    new_dim[static_cast<std::size_t>(old_dim)] = i;
  }
  for (int place = 0; place < x.rank(); ++place) order[place] = new_dim[static_cast<std::size_t>(x.order()[place])];
  return x.view_as(shape, order);
}

Tensor permute_to(const char* name, const Tensor& x, const std::vector<int>& dims) {
  Tensor y = permuted(x, dims);
  if (core::needs_grad(x)) {
    std::vector<int> inverse(dims.size());
    for (std::size_t i = 0; i < dims.size(); ++i) inverse[static_cast<std::size_t>(dims[i])] = static_cast<int>(i);
    core::record(name, y, {x}, core::saved(),
                 [inverse](core::Gradients& gradients) { gradients.set(0, permuted(gradients.dy(), inverse)); });
  }
  return y;
}

/// The dimensions counted from 0, each at most once.
std::vector<int> distinct_dims(const char* op, const Dims& dims, int rank) {
  std::vector<int> found;
  for (std::int64_t dim : dims) {
    const int d = normalize_dim(op, dim, rank);
    NV_CHECK(std::find(found.begin(), found.end(), d) == found.end(), op, "dimension ", dim, " appears twice");
    found.push_back(d);
  }
  return found;
}

/// Dimensions of x that `shape` repeats, counted in `shape`; x is lined up at the end.
Dims repeated_dims(const Shape& from, const Shape& shape) {
  Dims dims;
  const int added = shape.rank() - from.rank();
  for (int i = 0; i < shape.rank(); ++i)
    if (i < added || from[i - added] != shape[i]) dims.push_back(i);
  return dims;
}

Tensor flipped(const Tensor& x, const std::vector<int>& dims) {
  Tensor y = Tensor::empty_like(x, x.dtype());
  Region from = Region::whole(x);
  for (int dim : dims)
    if (x.size(dim) > 0) from = from.part(dim, x.size(dim) - 1, x.size(dim), -1);
  copy_region(from, Region::whole(y));
  return y;
}

/// A copy of part of one dimension.
Tensor narrowed(const Tensor& x, int dim, std::int64_t start, std::int64_t size) {
  const Region from = Region::whole(x).part(dim, start, size);
  Tensor y = Tensor::empty(from.sizes, x.dtype(), x.order());
  copy_region(from, Region::whole(y));
  return y;
}

/// All in the type that holds the values of each: float32 before int64 before boolean.
std::vector<Tensor> with_common_type(const std::vector<Tensor>& tensors) {
  const auto any = [&](DType dtype) {
    return std::any_of(tensors.begin(), tensors.end(), [=](const Tensor& t) { return t.dtype() == dtype; });
  };
  const DType dtype = any(DType::float32) ? DType::float32 : any(DType::int64) ? DType::int64 : DType::boolean;
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) result.push_back(t.dtype() == dtype ? t : cast(t, dtype));
  return result;
}

/// The shape of the concatenation, checked.
Shape joined_shape(const std::vector<Tensor>& tensors, int dim) {
  Shape shape = tensors[0].shape();
  for (std::size_t i = 1; i < tensors.size(); ++i) {
    Shape expected = tensors[i].shape();
    bool fits = expected.rank() == shape.rank();
    if (fits) {
      expected[dim] = tensors[0].size(dim);
      fits = expected == tensors[0].shape();
    }
    NV_CHECK(fits, "cat", "tensor ", i, " must have the shape ", tensors[0].shape(), " but for dimension ", dim,
             ", got ", tensors[i].shape());
    NV_CHECK(!__builtin_add_overflow(shape[dim], tensors[i].size(dim), &shape[dim]), "cat",
             "the result would have too many elements");
  }
  return shape;
}

}  // namespace

Tensor reshape(const Tensor& x, const Dims& shape) {
  return reshape_to("reshape", x, resolve_shape("reshape", x.shape(), shape));
}

Tensor permute(const Tensor& x, const Dims& dims) {
  NV_CHECK(static_cast<int>(dims.size()) == x.rank(), "permute", "needs each of the ", x.rank(),
           " dimensions once, got ", dims.size());
  return permute_to("permute", x, distinct_dims("permute", dims, x.rank()));
}

Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1) {
  std::vector<int> dims(static_cast<std::size_t>(x.rank()));
  for (int i = 0; i < x.rank(); ++i) dims[static_cast<std::size_t>(i)] = i;
  const int a = normalize_dim("transpose", dim0, x.rank()), b = normalize_dim("transpose", dim1, x.rank());
  // A 0-d tensor has no dimension to swap, though -1 and 0 name one.
  if (a != b) std::swap(dims[static_cast<std::size_t>(a)], dims[static_cast<std::size_t>(b)]);
  return permute_to("transpose", x, dims);
}

Tensor squeeze(const Tensor& x, OptionalDim dim) {
  const int only = dim ? normalize_dim("squeeze", *dim, x.rank()) : -1;
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (x.size(i) != 1 || (dim && i != only)) shape.append(x.size(i));
  return reshape_to("squeeze", x, shape);
}

Tensor unsqueeze(const Tensor& x, std::int64_t dim) {
  NV_CHECK(x.rank() < core::kMaxRank, "unsqueeze", "at most ", core::kMaxRank, " dimensions, got ", x.shape());
  const int at = normalize_dim("unsqueeze", dim, x.rank() + 1);
  Shape shape;
  for (int i = 0; i <= x.rank(); ++i) {
    if (i == at) shape.append(1);
    if (i < x.rank()) shape.append(x.size(i));
  }
  return reshape_to("unsqueeze", x, shape);
}

Tensor flatten(const Tensor& x, std::int64_t start_dim, std::int64_t end_dim) {
  const int rank = std::max(x.rank(), 1);
  const int start = normalize_dim("flatten", start_dim, rank), end = normalize_dim("flatten", end_dim, rank);
  NV_CHECK(start <= end, "flatten", "start_dim must not come after end_dim, got ", start_dim, " and ", end_dim);
  if (x.rank() == 0) return reshape_to("flatten", x, Shape{1});
  Shape shape;
  std::int64_t merged = 1;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < start || i > end) {
      shape.append(x.size(i));
      continue;
    }
    merged *= x.size(i);
    if (i == end) shape.append(merged);
  }
  return reshape_to("flatten", x, shape);
}

Tensor expand(const Tensor& x, const Dims& wanted) {
  Shape shape(wanted);
  const int added = shape.rank() - x.rank();
  NV_CHECK(added >= 0, "expand", "the new shape must have at least ", x.rank(), " dimensions, got ", shape);
  Region from = Region::whole(x);
  Shape strides = shape;
  for (int i = 0; i < shape.rank(); ++i) {
    const bool keeps = i >= added && (shape[i] == -1 || shape[i] == x.size(i - added));
    NV_CHECK(keeps || (shape[i] >= 0 && (i < added || x.size(i - added) == 1)), "expand", "cannot expand ", x.shape(),
             " to ", Shape(wanted));
    if (keeps) shape[i] = x.size(i - added);
    strides[i] = keeps ? from.strides[i - added] : 0;
  }
  if (shape == x.shape()) return x;
  Tensor y = Tensor::empty(shape, x.dtype());
  from.sizes = shape;
  from.strides = strides;
  copy_region(from, Region::whole(y));
  if (core::needs_grad(x))
    core::record("expand", y, {x}, core::saved(), [from = x.shape(), shape](core::Gradients& gradients) {
      const Dims dims = repeated_dims(from, shape);
      const Tensor& dy = gradients.dy();
      gradients.set(0, reshape(dims.empty() ? dy : sum(dy, dims, /*keepdim=*/true), to_dims(from)));
    });
  return y;
}

Tensor flip(const Tensor& x, const Dims& dims) {
  const std::vector<int> turned = distinct_dims("flip", dims, x.rank());
  Tensor y = flipped(x, turned);
  if (core::needs_grad(x))
    core::record("flip", y, {x}, core::saved(),
                 [turned](core::Gradients& gradients) { gradients.set(0, flipped(gradients.dy(), turned)); });
  return y;
}

Tensor cat(const std::vector<Tensor>& inputs, std::int64_t dim_from_either_end) {
  NV_CHECK(!inputs.empty(), "cat", "needs at least one tensor");
  const std::vector<Tensor> tensors = with_common_type(inputs);
  NV_CHECK(tensors[0].rank() > 0, "cat", "0-d tensors cannot be joined: use stack");
  const int dim = normalize_dim("cat", dim_from_either_end, tensors[0].rank());
  Tensor y = Tensor::empty(joined_shape(tensors, dim), tensors[0].dtype(), tensors[0].order());
  const Region whole = Region::whole(y);
  std::vector<std::int64_t> sizes;
  std::int64_t start = 0;
  for (const Tensor& t : tensors) {
    copy_region(Region::whole(t), whole.part(dim, start, t.size(dim)));
    start += t.size(dim);
    sizes.push_back(t.size(dim));
  }
  if (core::needs_grad(tensors))
    core::record("cat", {y}, tensors, core::saved(), [sizes, dim](core::Gradients& gradients) {
      std::int64_t from = 0;
      for (std::size_t i = 0; i < sizes.size(); from += sizes[i++])
        if (gradients.wants(static_cast<int>(i)))
          gradients.set(static_cast<int>(i), narrowed(gradients.dy(), dim, from, sizes[i]));
    });
  return y;
}

Tensor stack(const std::vector<Tensor>& tensors, std::int64_t dim) {
  NV_CHECK(!tensors.empty(), "stack", "needs at least one tensor");
  std::vector<Tensor> lifted;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    NV_CHECK(tensors[i].shape() == tensors[0].shape(), "stack", "tensor ", i, " must have the shape ",
             tensors[0].shape(), ", got ", tensors[i].shape());
    lifted.push_back(unsqueeze(tensors[i], dim));
  }
  return cat(lifted, normalize_dim("stack", dim, tensors[0].rank() + 1));
}

std::vector<Tensor> split(const Tensor& x, const Dims& sizes, std::int64_t dim_from_either_end) {
  const int dim = normalize_dim("split", dim_from_either_end, x.rank());
  std::int64_t total = 0;
  for (std::int64_t size : sizes) {
    NV_CHECK(size >= 0 && size <= x.size(dim), "split", "each size must be in [0, ", x.size(dim), "], got ", size);
    total += size;
  }
  NV_CHECK(total == x.size(dim), "split", "sizes must add up to ", x.size(dim), ", the size of dimension ", dim,
           ", got ", total);
  std::vector<Tensor> parts;
  std::int64_t start = 0;
  for (std::int64_t size : sizes) {
    parts.push_back(narrowed(x, dim, start, size));
    start += size;
  }
  if (core::needs_grad(x) && !parts.empty())
    core::record("split", parts, {x}, core::saved(),
                 [shape = x.shape(), order = x.order(), sizes, dim](core::Gradients& gradients) {
                   bool all = true;
                   for (std::size_t i = 0; i < sizes.size(); ++i) all &= gradients.dy(static_cast<int>(i)).defined();
                   Tensor dx = all ? Tensor::empty(shape, DType::float32, order) : zeros(shape, order);
                   const Region whole = Region::whole(dx);
                   std::int64_t from = 0;
                   for (std::size_t i = 0; i < sizes.size(); from += sizes[i++]) {
                     const Tensor& dy = gradients.dy(static_cast<int>(i));
                     if (dy.defined()) copy_region(Region::whole(dy), whole.part(dim, from, sizes[i]));
                   }
                   gradients.set(0, dx);
                 });
  return parts;
}

std::vector<Tensor> chunk(const Tensor& x, std::int64_t chunks, std::int64_t dim_from_either_end) {
  NV_CHECK(chunks > 0, "chunk", "needs a positive number of chunks, got ", chunks);
  const int dim = normalize_dim("chunk", dim_from_either_end, x.rank());
  const std::int64_t n = x.size(dim), each = std::max<std::int64_t>(n / chunks + (n % chunks != 0), 1);
  Dims sizes;
  for (std::int64_t start = 0; start < n; start += each) sizes.push_back(std::min(each, n - start));
  if (n == 0) {  // as many empty pieces as asked for: PyTorch does so
    constexpr std::int64_t kMost = 1 << 20;
    NV_CHECK(chunks <= kMost, "chunk", "an empty dimension has at most ", kMost, " chunks, got ", chunks);
    sizes.assign(static_cast<std::size_t>(chunks), 0);
  }
  return split(x, sizes, dim);
}

}  // namespace nervure::ops
