// SPDX-License-Identifier: BSD-3-Clause
// Embedding tables, and gradients that hold only some rows.
#include "bindings/bindings.h"
#include "core/row_gradient.h"

namespace nervure::bindings {
namespace {

py::object row_gradient(const Tensor& p) {
  const Tensor gradient = core::gradient_as_it_is(p);
  const core::RowGradient* const sparse = core::rows_of(gradient);
  if (!sparse) return py::none();
  // A copy of the numbers: other ones would send an optimiser beyond the table.
  return py::make_tuple(ops::clone(sparse->rows), sparse->values);
}

}  // namespace

void bind_embedding(py::module_& m) {
  m.def("embedding", &ops::embedding, py::arg("weight"), py::arg("indices"), py::arg("padding_idx") = -1,
        py::arg("sparse") = false);
  m.def(
      "has_gradient", [](const Tensor& p) { return core::gradient_as_it_is(p).defined(); }, py::arg("parameter"),
      "Whether there is a gradient, of which kind ever.");
  m.def("row_gradient", &row_gradient, py::arg("parameter"),
        "(rows, values) of a row-sparse gradient, the values in its own memory; None for a dense one or none.");
}

}  // namespace nervure::bindings
