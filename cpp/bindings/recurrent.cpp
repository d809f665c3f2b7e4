// SPDX-License-Identifier: BSD-3-Clause
// The recurrent layers.
#include "bindings/bindings.h"

namespace nervure::bindings {

void bind_recurrent_kernels(py::module_& m);  // recurrent_kernels.cpp

namespace {

using OptionalTensors = std::vector<OptionalTensor>;

std::vector<Tensor> each_or_undefined(const OptionalTensors& tensors) {
  std::vector<Tensor> found;
  found.reserve(tensors.size());
  for (const OptionalTensor& tensor : tensors) found.push_back(or_undefined(tensor));
  return found;
}

}  // namespace

void bind_recurrent(py::module_& m) {
  bind_recurrent_kernels(m);
  m.def(
      "rnn",
      [](const Tensor& x, const OptionalTensor& h0, const OptionalTensors& weights, const OptionalTensor& lengths,
         const std::string& nonlinearity) {
        return ops::rnn(x, or_undefined(h0), each_or_undefined(weights), or_undefined(lengths), nonlinearity);
      },
      py::arg("x"), py::arg("h0"), py::arg("weights"), py::arg("lengths") = py::none(),
      py::arg("nonlinearity") = "tanh");
  m.def(
      "gru",
      [](const Tensor& x, const OptionalTensor& h0, const OptionalTensors& weights, const OptionalTensor& lengths,
         bool reset_after) {
        return ops::gru(x, or_undefined(h0), each_or_undefined(weights), or_undefined(lengths), reset_after);
      },
      py::arg("x"), py::arg("h0"), py::arg("weights"), py::arg("lengths") = py::none(), py::arg("reset_after") = true);
  m.def(
      "lstm",
      [](const Tensor& x, const OptionalTensor& h0, const OptionalTensor& c0, const OptionalTensors& weights,
         const OptionalTensor& lengths, const OptionalTensor& mask, const OptionalTensor& zoneout_h,
         const OptionalTensor& zoneout_c) {
        return ops::lstm(x, or_undefined(h0), or_undefined(c0), each_or_undefined(weights), or_undefined(lengths),
                         or_undefined(mask), or_undefined(zoneout_h), or_undefined(zoneout_c));
      },
      py::arg("x"), py::arg("h0"), py::arg("c0"), py::arg("weights"), py::arg("lengths") = py::none(),
      py::arg("mask") = py::none(), py::arg("zoneout_h") = py::none(), py::arg("zoneout_c") = py::none());
}

}  // namespace nervure::bindings
