// SPDX-License-Identifier: BSD-3-Clause
// Operations of decoding, which record no gradient.
#include "bindings/bindings.h"

namespace nervure::bindings {
namespace {

/// None is an undefined one. Straight from the list: a step of a small model takes 50 of them.
std::vector<Tensor> list_of_weights(const py::list& given) {
  std::vector<Tensor> found;
  found.reserve(given.size());
  for (const py::handle item : given) found.push_back(item.is_none() ? Tensor() : item.cast<Tensor>());
  return found;
}

}  // namespace

void bind_decoding(py::module_& m) {
  m.def("attend_cached", ops::attend_cached, py::arg("packed"), written("keys"), written("values"), py::arg("length"),
        py::arg("heads"));
  m.def(
      "transformer_step",
      [](const Tensor& x, const py::list& weights, double eps, bool norm_first, std::int64_t heads,
         const std::string& activation, const std::vector<Tensor>& keys, const std::vector<Tensor>& values,
         std::int64_t length, const std::vector<Tensor>& sides, const OptionalTensor& lengths) {
        return ops::transformer_step(x, list_of_weights(weights), eps, norm_first, heads, activation, keys, values,
                                     length, sides, or_undefined(lengths));
      },
      py::arg("x"), py::arg("weights"), py::arg("eps"), py::arg("norm_first"), py::arg("heads"), py::arg("activation"),
      written("keys"), written("values"), py::arg("length"), py::arg("sides") = std::vector<Tensor>(),
      py::arg("lengths") = py::none());
  m.def("attentive_memory", ops::attentive_memory, py::arg("memory"), py::arg("weight_ih"), py::arg("join_weight"));
  m.def(
      "attentive_step",
      [](const Tensor& x, const Tensor& h, const OptionalTensor& c, const Tensor& keys, const Tensor& values,
         const OptionalTensor& lengths, const Tensor& query_weight, const Tensor& score_weight, const py::list& weights,
         const Tensor& join_weight, const OptionalTensor& join_bias) {
        return ops::attentive_step(x, h, or_undefined(c), keys, values, or_undefined(lengths), query_weight,
                                   score_weight, list_of_weights(weights), join_weight, or_undefined(join_bias));
      },
      py::arg("x"), py::arg("h"), py::arg("c"), py::arg("keys"), py::arg("values"), py::arg("lengths"),
      py::arg("query_weight"), py::arg("score_weight"), py::arg("weights"), py::arg("join_weight"),
      py::arg("join_bias") = py::none());
}

}  // namespace nervure::bindings
