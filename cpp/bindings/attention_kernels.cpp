// SPDX-License-Identifier: BSD-3-Clause
// The bare attention kernels on NumPy arrays. See nervure.kernels.
#include <array>
#include <cmath>

#include "bindings/kernel_arrays.h"
#include "core/launch.h"
#include "kernels/attention.h"

namespace nervure::bindings {
namespace {

using OptionalArray = std::optional<py::array>;
using kernels::AttentionSteps;
using Sizes = std::vector<py::ssize_t>;

struct Named {
  const char* name;
  const py::array* array;
};

AttentionSteps steps_of(const py::array& array) {
  const py::ssize_t size = array.itemsize();
  return {array.strides(0) / size, array.strides(1) / size, array.strides(2) / size};
}

void check_rows(const char* op, const char* what, const py::array& array) {
  check_aligned(op, what, array);
  NV_CHECK(array.size() == 0 || array.shape(3) == 1 || array.strides(3) == array.itemsize(), op, what,
           " must have the columns of a row side by side in memory");
}

/// A (batch, heads, rows, columns) array, of any steps but those along a row.
const float* rows(const char* op, const char* what, const py::array& array) {
  check_float32(op, what, array);
  NV_CHECK(array.ndim() == 4, op, what, " must be (batch, heads, steps, features), got ", shape_text(array));
  check_rows(op, what, array);
  return static_cast<const float*>(array.data());
}

void set_mask(const char* op, const py::array& mask, kernels::Attention& a) {
  check_shape(op, "mask", mask, {a.batch, a.heads, a.queries, a.keys});
  const bool boolean = mask.dtype().equal(py::dtype::of<bool>());
  NV_CHECK_TYPE(boolean || mask.dtype().equal(py::dtype::of<float>()), op, "mask must be bool or float32, got ",
                py::str(mask.dtype()).cast<std::string>());
  check_rows(op, "mask", mask);
  a.mask_steps = steps_of(mask);
  if (boolean)
    a.allowed = static_cast<const std::uint8_t*>(mask.data());
  else
    a.bias = static_cast<const float*>(mask.data());
}

void set_lengths(const char* op, const py::array& lengths, kernels::Attention& a) {
  NV_CHECK_TYPE(lengths.dtype().equal(py::dtype::of<std::int64_t>()), op, "lengths must be int64, got ",
                py::str(lengths.dtype()).cast<std::string>());
  check_shape(op, "lengths", lengths, {a.batch});
  check_aligned(op, "lengths", lengths);
  check_c_contiguous(op, "lengths", lengths);
  a.lengths = static_cast<const std::int64_t*>(lengths.data());
  for (std::int64_t i = 0; i < a.batch; ++i)
    NV_CHECK(a.lengths[i] >= 0 && a.lengths[i] <= a.keys, op, "lengths must lie in [0, ", a.keys, "], got ",
             a.lengths[i]);
}

/// The arrays that both kernels read.
struct Operands {
  const py::array &q, &k, &v;
  const OptionalArray &mask, &lengths;
};

/// Checks what both kernels read; the steps of y are for the caller to set.
kernels::Attention attention_of(const char* op, const Operands& given, bool causal, double scale) {
  const auto& [q, k, v, mask, lengths] = given;
  kernels::Attention a{};
  a.q = rows(op, "q", q);
  a.k = rows(op, "k", k);
  a.v = rows(op, "v", v);
  a.batch = q.shape(0);
  a.heads = q.shape(1);
  a.queries = q.shape(2);
  a.head_size = q.shape(3);
  a.keys = k.shape(2);
  a.value_size = v.shape(3);
  check_shape(op, "k", k, {a.batch, a.heads, a.keys, a.head_size});
  check_shape(op, "v", v, {a.batch, a.heads, a.keys, a.value_size});
  a.q_steps = steps_of(q);
  a.k_steps = steps_of(k);
  a.v_steps = steps_of(v);
  NV_CHECK(std::isfinite(scale), op, "scale must be finite, got ", scale);
  a.scale = static_cast<float>(scale);
  a.causal = causal;
  a.keep_scale = 1.0f;
  if (mask) set_mask(op, *mask, a);
  if (lengths) set_lengths(op, *lengths, a);
  return a;
}

void check_apart_from_operands(const char* op, const char* what, const py::array& written, const Operands& given) {
  for (const Named& read : {Named{"q", &given.q}, Named{"k", &given.k}, Named{"v", &given.v}})
    check_apart(op, what, written, read.name, *read.array);
  if (given.mask) check_apart(op, what, written, "mask", *given.mask);
  if (given.lengths) check_apart(op, what, written, "lengths", *given.lengths);
}

std::int64_t work_of(const kernels::Attention& a) {
  return a.batch * a.heads * a.queries * a.keys * (a.head_size + a.value_size);
}

void bare_attention_forward(const py::array& q, const py::array& k, const py::array& v, const OptionalArray& mask,
                            const OptionalArray& lengths, bool causal, double scale, py::array& out,
                            py::array& log_sum) {
  constexpr const char* op = "attention_forward";
  const Operands given{q, k, v, mask, lengths};
  kernels::Attention a = attention_of(op, given, causal, scale);
  float *y = output(op, "out", out), *sums = output(op, "log_sum", log_sum);
  check_shape(op, "out", out, {a.batch, a.heads, a.queries, a.value_size});
  check_shape(op, "log_sum", log_sum, {a.batch, a.heads, a.queries});
  a.y_steps = steps_of(out);
  check_apart_from_operands(op, "out", out, given);
  check_apart_from_operands(op, "log_sum", log_sum, given);
  check_apart(op, "out", out, "log_sum", log_sum);
  core::launch(work_of(a), [=] { kernels::attention_forward(a, y, sums); });
}

void bare_attention_backward(const py::array& dy, const py::array& q, const py::array& k, const py::array& v,
                             const py::array& y, const py::array& log_sum, const OptionalArray& mask,
                             const OptionalArray& lengths, bool causal, double scale, py::array& dq, py::array& dk,
                             py::array& dv) {
  constexpr const char* op = "attention_backward";
  const Operands given{q, k, v, mask, lengths};
  kernels::Attention a = attention_of(op, given, causal, scale);
  const Sizes result{a.batch, a.heads, a.queries, a.value_size};
  const float *from = rows(op, "dy", dy), *saved = rows(op, "y", y), *sums = input(op, "log_sum", log_sum);
  check_shape(op, "dy", dy, result);
  check_shape(op, "y", y, result);
  check_shape(op, "log_sum", log_sum, {a.batch, a.heads, a.queries});
  a.y_steps = steps_of(y);
  float *to_q = output(op, "dq", dq), *to_k = output(op, "dk", dk), *to_v = output(op, "dv", dv);
  check_same_shape(op, "dq", dq, q);
  check_same_shape(op, "dk", dk, k);
  check_same_shape(op, "dv", dv, v);
  const std::array<Named, 3> written{{{"dq", &dq}, {"dk", &dk}, {"dv", &dv}}};
  for (std::size_t i = 0; i < written.size(); ++i) {
    const auto& [name, array] = written[i];
    check_apart_from_operands(op, name, *array, given);
    for (const Named& read : {Named{"dy", &dy}, Named{"y", &y}, Named{"log_sum", &log_sum}})
      check_apart(op, name, *array, read.name, *read.array);
    for (std::size_t j = 0; j < i; ++j) check_apart(op, name, *array, written[j].name, *written[j].array);
  }
  const kernels::AttentionGradients gradients{saved, sums, from,         steps_of(dy), to_q,
                                              to_k,  to_v, steps_of(dq), steps_of(dk), steps_of(dv)};
  core::launch(3 * work_of(a), [=] { kernels::attention_backward(a, gradients); });
}

}  // namespace

void bind_attention_kernels(py::module_& m);

void bind_attention_kernels(py::module_& parent) {
  auto m = parent.def_submodule("kernels");
  m.def("attention_forward", &bare_attention_forward, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("mask"),
        py::arg("lengths"), py::arg("causal"), py::arg("scale"), py::arg("out"), py::arg("log_sum"));
  m.def("attention_backward", &bare_attention_backward, py::arg("dy"), py::arg("q"), py::arg("k"), py::arg("v"),
        py::arg("y"), py::arg("log_sum"), py::arg("mask"), py::arg("lengths"), py::arg("causal"), py::arg("scale"),
        py::arg("dq"), py::arg("dk"), py::arg("dv"));
}

}  // namespace nervure::bindings
