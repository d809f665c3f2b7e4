// SPDX-License-Identifier: BSD-3-Clause
// x[key]: integers, slices, None, ..., and one array of indices or booleans.
#include "bindings/bindings.h"

namespace nervure::bindings {
namespace {

bool is_index_array(const py::handle& key) {
  return is_tensor(key) || py::isinstance<py::array>(key) || PyList_Check(key.ptr());
}

Tensor index_tensor(const py::handle& key) {
  Tensor indices = tensor_from_object(key);
  if (indices.dtype() == DType::float32 && indices.numel() == 0) return ops::cast(indices, DType::int64);  // x[[]]
  NV_CHECK_TYPE(indices.dtype() != DType::float32, "index", "an index array must be of integers or booleans, got ",
                indices.dtype());
  return indices;
}

/// One of the keys between the brackets.
struct Key {
  py::handle object;
  Tensor indices;  // of an index array

  explicit Key(const py::handle& key) : object(key), indices(is_index_array(key) ? index_tensor(key) : Tensor()) {}
  bool is_mask() const { return indices && indices.dtype() == DType::boolean; }
  /// Dimensions of x that the key consumes.
  int consumed() const {
    if (object.is_none() || object.is(py::ellipsis())) return 0;
    return is_mask() ? indices.rank() : 1;
  }
};

struct Cursor {
  Tensor x;
  int dim = 0;     // the next dimension to be indexed
  int arrays = 0;  // index arrays met so far
};

void apply_slice(Cursor& at, const py::handle& key) {
  py::ssize_t start = 0, stop = 0, step = 0;
  if (PySlice_Unpack(key.ptr(), &start, &stop, &step) != 0) throw py::error_already_set();
  NV_CHECK(step > 0, "index", "slices need a positive step (use flip to reverse), got ", step);
  PySlice_AdjustIndices(at.x.size(at.dim), &start, &stop, step);
  const bool whole = start == 0 && stop == at.x.size(at.dim) && step == 1;
  if (!whole) at.x = ops::slice(at.x, at.dim, start, std::max(start, stop), step);
  ++at.dim;
}

void apply_array(Cursor& at, const Key& key) {
  NV_CHECK(++at.arrays == 1, "index", "one index array at a time is supported; use gather or index twice");
  // The indexed dimension goes to the front, its replacement back to where it was.
  std::vector<std::int64_t> front, back;
  const int rank = at.x.rank(), used = key.consumed();
  for (int i = 0; i < used; ++i) front.push_back(at.dim + i);
  for (int i = 0; i < rank; ++i)
    if (i < at.dim || i >= at.dim + used) front.push_back(i);
  const Tensor moved = at.dim ? ops::permute(at.x, front) : at.x;
  const Tensor taken = key.is_mask() ? ops::masked_select(moved, key.indices) : ops::take_rows(moved, key.indices);
  const int made = key.is_mask() ? 1 : key.indices.rank();
  for (int i = 0; i < at.dim; ++i) back.push_back(made + i);
  for (int i = 0; i < made; ++i) back.push_back(i);
  for (int i = made + at.dim; i < taken.rank(); ++i) back.push_back(i);
  at.x = at.dim ? ops::permute(taken, back) : taken;
  at.dim += made;
}

void apply_key(Cursor& at, const Key& key, int skipped_by_ellipsis) {
  const py::handle object = key.object;
  if (object.is_none()) {
    at.x = ops::unsqueeze(at.x, at.dim++);
  } else if (object.is(py::ellipsis())) {
    at.dim += skipped_by_ellipsis;
  } else if (PySlice_Check(object.ptr())) {
    apply_slice(at, object);
  } else if (key.indices) {
    apply_array(at, key);
  } else if (PyIndex_Check(object.ptr()) && !PyBool_Check(object.ptr())) {
    at.x = ops::select(at.x, at.dim, object.cast<std::int64_t>());
  } else {
    throw core::TypeError(core::message("index", "expected integers, slices, None, ... or an index array, got ",
                                        py::str(py::type::of(object)).cast<std::string>()));
  }
}

}  // namespace

Tensor subscript(const Tensor& x, const py::handle& key) {
  const py::tuple given = PyTuple_Check(key.ptr()) ? py::reinterpret_borrow<py::tuple>(key) : py::make_tuple(key);
  std::vector<Key> keys;
  int total = 0, ellipses = 0;
  for (py::handle k : given) {
    total += keys.emplace_back(k).consumed();
    ellipses += k.is(py::ellipsis());
  }
  NV_CHECK_INDEX(total <= x.rank(), "index", "too many indices: ", total, " for a tensor of shape ", x.shape());
  NV_CHECK_INDEX(ellipses <= 1, "index", "only one ... may be given");
  Cursor at{x};
  for (const Key& k : keys) apply_key(at, k, x.rank() - total);
  return at.x;
}

}  // namespace nervure::bindings
