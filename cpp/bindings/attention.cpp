// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/bindings.h"

namespace nervure::bindings {

void bind_attention_kernels(py::module_& m);  // attention_kernels.cpp

void bind_attention(py::module_& m) {
  bind_attention_kernels(m);
  m.def(
      "scaled_dot_product_attention",
      [](const Tensor& query, const Tensor& key, const Tensor& value, const OptionalTensor& attn_mask,
         const OptionalTensor& lengths, double dropout_p, bool is_causal, std::optional<double> scale) {
        return ops::scaled_dot_product_attention(query, key, value, or_undefined(attn_mask), or_undefined(lengths),
                                                 dropout_p, is_causal, scale);
      },
      py::arg("query"), py::arg("key"), py::arg("value"), py::arg("attn_mask") = py::none(),
      py::arg("lengths") = py::none(), py::arg("dropout_p") = 0.0, py::arg("is_causal") = false,
      py::arg("scale") = py::none());
  m.def(
      "self_attention",
      [](const Tensor& packed, const OptionalTensor& attn_mask, const OptionalTensor& lengths, std::int64_t heads,
         double dropout_p, bool is_causal, std::optional<double> scale) {
        return ops::self_attention(packed, or_undefined(attn_mask), or_undefined(lengths), heads, dropout_p, is_causal,
                                   scale);
      },
      py::arg("packed"), py::arg("attn_mask") = py::none(), py::arg("lengths") = py::none(), py::arg("heads") = 1,
      py::arg("dropout_p") = 0.0, py::arg("is_causal") = false, py::arg("scale") = py::none());
}

}  // namespace nervure::bindings
