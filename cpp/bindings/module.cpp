// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/bindings.h"
#include "core/launch.h"

namespace nervure::bindings {
namespace {

void* unlock_interpreter() { return PyGILState_Check() ? PyEval_SaveThread() : nullptr; }

void lock_interpreter(void* state) {
  lock_or_stay([state] { PyEval_RestoreThread(static_cast<PyThreadState*>(state)); });
}

/// Runs the signal handlers that are due; true when one of them raised (KeyboardInterrupt).
bool interrupted() {
  const Locked locked;
  return PyErr_CheckSignals() != 0;
}

void translate_exceptions() {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const core::TypeError& error) {
      py::set_error(PyExc_TypeError, error.what());
    } catch (const py::cast_error&) {
      py::set_error(PyExc_TypeError, "an argument has the wrong type, or is an integer beyond 64 bits");
    } catch (const core::Interrupted&) {
      if (!PyErr_Occurred()) py::set_error(PyExc_KeyboardInterrupt, "");
    }
  });
}

}  // namespace

Locked::Locked()
    : state_(lock_or_stay([] {
        while (!Py_IsInitialized()) pause();  // the interpreter has gone, and this thread outlived it
        return PyGILState_Ensure();
      })) {}

}  // namespace nervure::bindings

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace nervure;
  m.doc() = "The compiled part of Nervure: tensors, the tape, and every operation.";
  core::interpreter = {bindings::unlock_interpreter, bindings::lock_interpreter, bindings::interrupted};
  bindings::translate_exceptions();
  ops::initialise();
  bindings::bind_runtime(m);
  bindings::bind_tensor(m);
  bindings::bind_ops(m);
  bindings::bind_attention(m);
  bindings::bind_decoding(m);
  bindings::bind_update_list(m);
  bindings::bind_embedding(m);
  bindings::bind_function(m);
  bindings::bind_kernels(m);
  bindings::bind_conv(m);
  bindings::bind_pool(m);
  bindings::bind_norm(m);
  bindings::bind_recurrent(m);
  bindings::bind_bench(m);
}
