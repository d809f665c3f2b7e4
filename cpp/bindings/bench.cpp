// SPDX-License-Identifier: BSD-3-Clause
// What `nervure bench` measures the machine with.
#include "bindings/bindings.h"
#include "core/launch.h"
#include "kernels/roofline.h"

namespace nervure::bindings {
namespace {

std::int64_t fma_peak(std::int64_t iterations, std::int64_t chunks, float factor) {
  NV_CHECK(iterations > 0 && chunks > 0, "fma_peak", "iterations and chunks must be positive");
  const Tensor y = Tensor::empty(Shape({chunks}));
  std::int64_t flops = 0;
  core::launch(iterations * chunks, [&] { flops = kernels::fma_peak(iterations, chunks, factor, y.f32_out()); });
  return flops;
}

void check_vectors(const char* name, std::initializer_list<Tensor> vectors) {
  const std::int64_t n = vectors.begin()->numel();
  for (const Tensor& x : vectors) {
    core::check_dtype(name, "every vector", x, DType::float32);
    NV_CHECK(x.rank() == 1 && x.numel() == n, name, "all must be (", n, ",), got ", x.shape());
  }
}

void copy_bandwidth(const Tensor& x, const Tensor& y) {
  check_vectors("copy_bandwidth", {x, y});
  core::launch(x.numel(), [=] { kernels::copy_bandwidth(x.f32(), y.f32_out(), x.numel()); });
}

void triad_bandwidth(const Tensor& a, const Tensor& b, float s, const Tensor& y) {
  check_vectors("triad_bandwidth", {a, b, y});
  core::launch(y.numel(), [=] { kernels::triad_bandwidth(a.f32(), b.f32(), s, y.f32_out(), y.numel()); });
}

}  // namespace

void bind_bench(py::module_& m) {
  m.def("fma_peak", &fma_peak, py::arg("iterations"), py::arg("chunks"), py::arg("factor") = 0.5f,
        "Do nothing but multiply-adds; returns how many floating-point operations that was.");
  m.def("copy_bandwidth", &copy_bandwidth, py::arg("x"), py::arg("y"), "y = x");
  m.def("triad_bandwidth", &triad_bandwidth, py::arg("a"), py::arg("b"), py::arg("s"), py::arg("y"), "y = a + s b");
}

}  // namespace nervure::bindings
