// SPDX-License-Identifier: BSD-3-Clause
// The bare recurrent kernels on NumPy arrays: one layer, one direction. See nervure.kernels.
#include "bindings/kernel_arrays.h"
#include "core/launch.h"
#include "kernels/gru.h"
#include "kernels/lstm.h"
#include "kernels/rnn.h"

namespace nervure::bindings {
namespace {

using Arrays = std::vector<std::optional<py::array>>;
using Sizes = std::vector<py::ssize_t>;

struct Kind {
  const char* name;  // for messages
  std::int64_t gates, saved_gates, states;
};
constexpr Kind kRnn{"rnn", 1, 1, 1}, kGru{"gru", 3, 4, 1}, kLstm{"lstm", 4, 4, 2};

Kind kind_of(const std::string& name) {
  for (const Kind& kind : {kRnn, kGru, kLstm})
    if (name == kind.name) return kind;
  throw std::invalid_argument("[kernels] kind must be rnn, gru or lstm");
}

void check_array(const char* op, const char* what, const py::array& array, const Sizes& sizes, bool written) {
  Shape wanted, actual;
  for (py::ssize_t size : sizes) wanted.append(size);
  for (py::ssize_t i = 0; i < std::min<py::ssize_t>(array.ndim(), core::kMaxRank); ++i) actual.append(array.shape(i));
  NV_CHECK_TYPE(array.dtype().equal(py::dtype::of<float>()), op, what, " must be float32, got ",
                py::str(array.dtype()).cast<std::string>());
  NV_CHECK(array.ndim() == static_cast<py::ssize_t>(sizes.size()) && actual == wanted, op, what, " must have shape ",
           wanted, ", got ", actual);
  check_aligned(op, what, array);
  NV_CHECK(array.flags() & py::array::c_style, op, what, " must be C-contiguous");
  NV_CHECK(!written || array.writeable(), op, what, " is read-only");
}

const float* input(const char* op, const char* what, const std::optional<py::array>& array, const Sizes& sizes) {
  if (!array) return nullptr;
  check_array(op, what, *array, sizes, false);
  return static_cast<const float*>(array->data());
}

float* output(const char* op, const char* what, std::optional<py::array>& array, const Sizes& sizes) {
  NV_CHECK(array.has_value(), op, what, " must be given");
  check_array(op, what, *array, sizes, true);
  return static_cast<float*>(array->mutable_data());
}

/// The sizes of a call, and its arrays in the order in which nervure.kernels gives them.
struct Call {
  Kind kind;
  const char* op;
  std::int64_t batch, steps, input, hidden;
  kernels::Sequence sequence;

  Sizes state() const { return {batch, hidden}; }
  Sizes gates(std::int64_t rows) const { return {rows, kind.gates * hidden}; }
};

/// `numbers` is active, offset and row, one after the other (kernels/recurrent.h), for `longest` steps.
kernels::Sequence sequence_of(const char* op, const py::array& numbers, std::int64_t batch, std::int64_t steps,
                              std::int64_t longest, bool reverse) {
  NV_CHECK_TYPE(numbers.dtype().equal(py::dtype::of<std::int64_t>()), op, "the lengths must be int64");
  NV_CHECK(longest >= 0 && longest <= steps && numbers.ndim() == 1 && numbers.size() == 2 * (longest + 1) + batch &&
               (numbers.flags() & py::array::c_style),
           op, "the lengths do not belong to this batch");
  const auto* active = static_cast<const std::int64_t*>(numbers.data());
  const std::int64_t *offset = active + longest + 1, *row = offset + longest + 1;
  bool valid = offset[0] == 0 && active[longest] == 0;
  for (std::int64_t t = 0; t < longest; ++t)
    valid = valid && active[t] >= active[t + 1] && active[t] <= batch && offset[t + 1] == offset[t] + active[t];
  for (std::int64_t b = 0; b < batch; ++b) valid = valid && row[b] >= 0 && row[b] < batch;
  NV_CHECK(valid, op, "the lengths do not belong to this batch");
  return {batch, longest, offset[longest], active, offset, row, reverse};
}

Call call_of(const Kind& kind, const char* op, const py::array& shape_of, const std::optional<py::array>& w_ih,
             const py::array& numbers, std::int64_t longest, bool reverse) {
  NV_CHECK(shape_of.ndim() == 3, op, "sequences must be (batch, steps, features), got ", shape_of.ndim(),
           " dimensions");
  NV_CHECK(w_ih && w_ih->ndim() == 2 && w_ih->shape(1) % kind.gates == 0, op, "weight_ih must be (input, ", kind.gates,
           " hidden)");
  const std::int64_t batch = shape_of.shape(0), steps = shape_of.shape(1);
  return {kind,
          op,
          batch,
          steps,
          w_ih->shape(0),
          w_ih->shape(1) / kind.gates,
          sequence_of(op, numbers, batch, steps, longest, reverse)};
}

struct Weights {
  const float *ih, *hh, *b_ih, *b_hh;
};
Weights weights_of(const Call& c, const Arrays& weights) {
  NV_CHECK(weights.size() == 4 && weights[1], c.op, "weights must be weight_ih, weight_hh, bias_ih, bias_hh");
  const std::int64_t columns = c.kind.gates * c.hidden;
  return {input(c.op, "weight_ih", weights[0], {c.input, columns}),
          input(c.op, "weight_hh", weights[1], {c.hidden, columns}), input(c.op, "bias_ih", weights[2], {columns}),
          input(c.op, "bias_hh", weights[3], {columns})};
}

struct Saved {
  float *x, *gates, *h, *c;
};
Saved saved_of(const Call& c, Arrays& saved) {
  const bool plain = c.kind.gates == 1;  // a tanh network's gate is its state
  NV_CHECK(saved.size() == (plain ? 2 : 2 + static_cast<std::size_t>(c.kind.states)), c.op,
           "saved is not of this kernel");
  const std::int64_t rows = c.sequence.total;
  float* const x = output(c.op, "saved x", saved[0], {rows, c.input});
  if (plain) return {x, nullptr, output(c.op, "saved h", saved[1], {rows + c.batch, c.hidden}), nullptr};
  return {x, output(c.op, "saved gates", saved[1], {rows, kernels::gate_stride(4 * c.hidden)}),
          output(c.op, "saved h", saved[2], {rows, c.hidden}),
          c.kind.states == 2 ? output(c.op, "saved c", saved[3], {rows, c.hidden}) : nullptr};
}

kernels::RnnLayer rnn_layer(const Call& c, bool relu, const Weights& w, const float* x, const float* h0) {
  return {c.sequence, c.input, c.hidden, relu, w.ih, w.hh, w.b_ih, w.b_hh, x, h0};
}
kernels::GruLayer gru_layer(const Call& c, bool after, const Weights& w, const float* x, const float* h0) {
  return {c.sequence, c.input, c.hidden, after, w.ih, w.hh, w.b_ih, w.b_hh, x, h0};
}
kernels::LstmLayer lstm_layer(const Call& c, const Weights& w, const float* x, const float* h0, const float* c0) {
  return {c.sequence, c.input, c.hidden, c.hidden, w.ih, w.hh, w.b_ih, w.b_hh, nullptr,
          nullptr,    nullptr, {},       {},       x,    h0,   c0,     {}};
}

std::int64_t work_of(const Call& c) { return c.sequence.total * c.kind.gates * c.hidden * (c.input + c.hidden); }

/// `option`: relu of rnn, reset_after of gru. Outputs: y and the final states.
void forward(const std::string& name, bool option, const py::array& x, const Arrays& states, const Arrays& weights,
             const py::array& numbers, std::int64_t longest, bool reverse, Arrays outputs, Arrays saved) {
  const Kind kind = kind_of(name);
  const std::string op = name + "_forward";
  NV_CHECK(weights.size() == 4, op.c_str(), "weights must be 4");
  const Call c = call_of(kind, op.c_str(), x, weights[0], numbers, longest, reverse);
  const Weights w = weights_of(c, weights);
  const auto count = static_cast<std::size_t>(kind.states);
  NV_CHECK(states.size() == count && outputs.size() == 1 + count, c.op, "expected ", kind.states, " states");
  const float* from = input(c.op, "x", x, {c.batch, c.steps, c.input});
  const float *h0 = input(c.op, "h0", states[0], c.state()),
              *c0 = count == 2 ? input(c.op, "c0", states[1], c.state()) : nullptr;
  float *y = output(c.op, "y", outputs[0], {c.batch, c.steps, c.hidden}),
        *h_n = output(c.op, "h_n", outputs[1], c.state()),
        *c_n = count == 2 ? output(c.op, "c_n", outputs[2], c.state()) : nullptr;
  const Saved s = saved_of(c, saved);
  core::launch(work_of(c), [&] {
    const kernels::StepsOut to{y, c.steps * c.hidden, c.hidden};
    kernels::gather_steps(c.sequence, {from, c.steps * c.input, c.input}, c.input, s.x);
    if (count == 2)
      kernels::lstm_forward(lstm_layer(c, w, s.x, h0, c0), {s.gates, s.h, s.c, nullptr, nullptr, true}, to, h_n, c_n);
    else if (kind.gates == 3)
      kernels::gru_forward(gru_layer(c, option, w, s.x, h0), {s.gates, s.h, true}, to, h_n);
    else
      kernels::rnn_forward(rnn_layer(c, option, w, s.x, h0), {s.h, true}, to, h_n);
    kernels::clear_padding(c.sequence, c.hidden, c.steps, to);
  });
}

/// Outputs: dx, the gradients of the initial states, dw_ih, dw_hh, db_ih, and db_hh of gru.
void backward(const std::string& name, bool option, const py::array& dy, const Arrays& dstates, const Arrays& weights,
              const py::array& numbers, std::int64_t longest, bool reverse, Arrays outputs, Arrays saved) {
  const Kind kind = kind_of(name);
  const std::string op = name + "_backward";
  NV_CHECK(weights.size() == 4, op.c_str(), "weights must be 4");
  const Call c = call_of(kind, op.c_str(), dy, weights[0], numbers, longest, reverse);
  const Weights w = weights_of(c, weights);
  const auto count = static_cast<std::size_t>(kind.states);
  NV_CHECK(dstates.size() == count && outputs.size() == 4 + count + (kind.gates == 3), c.op, "expected ", kind.states,
           " states");
  const kernels::StepsIn from{input(c.op, "dy", dy, {c.batch, c.steps, c.hidden}), c.steps * c.hidden, c.hidden};
  const float *dh_n = input(c.op, "dh_n", dstates[0], c.state()),
              *dc_n = count == 2 ? input(c.op, "dc_n", dstates[1], c.state()) : nullptr;
  float *dx = output(c.op, "dx", outputs[0], {c.batch, c.steps, c.input}),
        *dh0 = output(c.op, "dh0", outputs[1], c.state()),
        *dc0 = count == 2 ? output(c.op, "dc0", outputs[2], c.state()) : nullptr;
  float *dw_ih = output(c.op, "dweight_ih", outputs[1 + count], c.gates(c.input)),
        *dw_hh = output(c.op, "dweight_hh", outputs[2 + count], c.gates(c.hidden)),
        *db_ih = output(c.op, "dbias_ih", outputs[3 + count], {kind.gates * c.hidden}),
        *db_hh = kind.gates == 3 ? output(c.op, "dbias_hh", outputs[4 + count], {3 * c.hidden}) : nullptr;
  const Saved s = saved_of(c, saved);
  const Tensor packed = Tensor::empty({c.sequence.total, c.input});
  core::launch(2 * work_of(c), [&] {
    float* const dxs = packed.f32_out();
    if (count == 2)
      kernels::lstm_backward(lstm_layer(c, w, s.x, nullptr, nullptr), {s.gates, s.h, s.c, nullptr, nullptr, true}, from,
                             dh_n, dc_n, {dxs, false, dh0, dc0, dw_ih, dw_hh, db_ih, nullptr, nullptr});
    else if (kind.gates == 3)
      kernels::gru_backward(gru_layer(c, option, w, s.x, nullptr), {s.gates, s.h, true}, from, dh_n,
                            {dxs, false, dh0, dw_ih, dw_hh, db_ih, db_hh});
    else
      kernels::rnn_backward(rnn_layer(c, option, w, s.x, nullptr), {s.h, true}, from, dh_n,
                            {dxs, false, dh0, dw_ih, dw_hh, db_ih});
    kernels::scatter_steps(c.sequence, dxs, c.input, c.steps, {dx, c.steps * c.input, c.input});
  });
}

}  // namespace

void bind_recurrent_kernels(py::module_& m);

void bind_recurrent_kernels(py::module_& parent) {
  auto m = py::reinterpret_borrow<py::module_>(parent.attr("kernels"));
  m.def("gate_stride", &kernels::gate_stride, py::arg("columns"));
  m.def("recurrent_forward", &forward, py::arg("kind"), py::arg("option"), py::arg("x"), py::arg("states"),
        py::arg("weights"), py::arg("numbers"), py::arg("longest"), py::arg("reverse"), py::arg("outputs"),
        py::arg("saved"));
  m.def("recurrent_backward", &backward, py::arg("kind"), py::arg("option"), py::arg("dy"), py::arg("dstates"),
        py::arg("weights"), py::arg("numbers"), py::arg("longest"), py::arg("reverse"), py::arg("outputs"),
        py::arg("saved"));
}

}  // namespace nervure::bindings
