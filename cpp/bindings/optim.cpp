// SPDX-License-Identifier: BSD-3-Clause
// The tensors of an optimiser step, taken out of Python's lists once and not at every step.
#include <array>
#include <utility>

#include "bindings/bindings.h"

namespace nervure::bindings {
namespace {

using Tensors = std::vector<Tensor>;

/// Parameters that are updated together, up to three lists of their state (see ops.h), and those parameters of the
/// same group that had no gradient when the list was made. Their steps limit the elements of the gradients.
struct UpdateList {
  Tensors parameters;
  std::array<Tensors, 3> state;
  Tensors idle;
  double clip_value;

  UpdateList(Tensors all, std::vector<Tensors> states, Tensors without_gradient, double limit)
      : parameters(std::move(all)), idle(std::move(without_gradient)), clip_value(limit) {
    NV_CHECK(states.size() <= state.size(), "UpdateList", "at most ", state.size(), " lists of state, got ",
             states.size());
    for (std::size_t i = 0; i < states.size(); ++i) state[i] = std::move(states[i]);
  }

  /// Whether the same parameters have gradients as when the list was made.
  bool is_current() const {
    for (const Tensor& p : parameters)
      if (!p.body()->grad) return false;
    for (const Tensor& p : idle)
      if (p.body()->grad) return false;
    return true;
  }
};

void sgd_step(const UpdateList& list, double lr, double momentum, double dampening, double weight_decay, double l1,
              bool nesterov, bool maximize, bool first_step) {
  ops::sgd_step(list.parameters, list.state[0],
                {lr, momentum, dampening, weight_decay, l1, nesterov, maximize, first_step, list.clip_value});
}

/// State: square averages, momentum buffers or [], gradient averages or [].
void rmsprop_step(const UpdateList& list, double lr, double alpha, double eps, double weight_decay, double momentum,
                  double l1, bool centered, bool maximize) {
  ops::rmsprop_step(list.parameters, list.state[0], list.state[1], list.state[2],
                    {lr, alpha, eps, weight_decay, momentum, l1, centered, maximize, list.clip_value});
}

void adagrad_step(const UpdateList& list, double lr, double lr_decay, double weight_decay, double eps, double l1,
                  bool maximize, std::int64_t step) {
  ops::adagrad_step(list.parameters, list.state[0],
                    {lr, lr_decay, weight_decay, eps, l1, maximize, step, list.clip_value});
}

void adam_step(const UpdateList& list, double lr, double beta1, double beta2, double eps, double weight_decay,
               double l1, bool decoupled_weight_decay, bool amsgrad, bool maximize, std::int64_t step) {
  ops::adam_step(
      list.parameters, list.state[0], list.state[1], list.state[2],
      {lr, beta1, beta2, eps, weight_decay, l1, decoupled_weight_decay, amsgrad, maximize, step, list.clip_value});
}

void nadam_step(const UpdateList& list, double lr, double beta1, double beta2, double eps, double weight_decay,
                double momentum_decay, double l1, bool decoupled_weight_decay, bool maximize, std::int64_t step,
                double mu_product) {
  ops::nadam_step(list.parameters, list.state[0], list.state[1],
                  {lr, beta1, beta2, eps, weight_decay, momentum_decay, l1, decoupled_weight_decay, maximize, step,
                   mu_product, list.clip_value});
}

void clear_gradients(const py::list& parameters) {
  for (const py::handle& p : parameters) {
    NV_CHECK_TYPE(is_tensor(p) && tensor_of(p), "clear_gradients", "needs tensors");
    tensor_of(p).set_grad(Tensor());
  }
}

}  // namespace

void bind_update_list(py::module_& m) {
  m.def("clear_gradients", &clear_gradients, py::arg("parameters"), "Forget the gradient of every parameter.");
  py::class_<UpdateList>(m, "UpdateList", "Parameters updated together, and their state.")
      .def(py::init<Tensors, std::vector<Tensors>, Tensors, double>(), py::arg("parameters"), py::arg("states"),
           py::arg("idle"), py::arg("clip_value") = ops::kNoLimit)
      .def("is_current", &UpdateList::is_current,
           "Whether the same parameters have gradients as when the list was made.")
      .def("sgd_step", &sgd_step, py::arg("lr"), py::arg("momentum"), py::arg("dampening"), py::arg("weight_decay"),
           py::arg("l1"), py::arg("nesterov"), py::arg("maximize"), py::arg("first_step"))
      .def("rmsprop_step", &rmsprop_step, py::arg("lr"), py::arg("alpha"), py::arg("eps"), py::arg("weight_decay"),
           py::arg("momentum"), py::arg("l1"), py::arg("centered"), py::arg("maximize"))
      .def("adagrad_step", &adagrad_step, py::arg("lr"), py::arg("lr_decay"), py::arg("weight_decay"), py::arg("eps"),
           py::arg("l1"), py::arg("maximize"), py::arg("step"))
      .def("adam_step", &adam_step, py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"),
           py::arg("weight_decay"), py::arg("l1"), py::arg("decoupled_weight_decay"), py::arg("amsgrad"),
           py::arg("maximize"), py::arg("step"))
      .def("nadam_step", &nadam_step, py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"),
           py::arg("weight_decay"), py::arg("momentum_decay"), py::arg("l1"), py::arg("decoupled_weight_decay"),
           py::arg("maximize"), py::arg("step"), py::arg("mu_product"));
}

}  // namespace nervure::bindings
