// SPDX-License-Identifier: BSD-3-Clause
// Pooling on tensors, and the bare kernels on NumPy arrays.
#include "ops/pool.h"

#include <array>

#include "bindings/kernel_arrays.h"
#include "core/launch.h"

namespace nervure::bindings {
namespace {

using kernels::Pool;
using kernels::PoolAxis;

void bind_pool_tensors(py::module_& m) {
  const auto windows = [&m](const char* name, const auto& op) {
    m.def(
        name,
        [op](const Tensor& x, const IntList& kernel_size, const IntList& stride, const IntList& padding,
             const IntList& dilation, bool ceil_mode) {
          return op(x, kernel_size.values, stride.values, padding.values, dilation.values, ceil_mode);
        },
        py::arg("x"), py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("padding") = 0,
        py::arg("dilation") = 1, py::arg("ceil_mode") = false);
  };
  windows("max_pool", &ops::max_pool);
  windows("max_pool_with_indices", &ops::max_pool_with_indices);
  m.def(
      "avg_pool",
      [](const Tensor& x, const IntList& kernel_size, const IntList& stride, const IntList& padding, bool ceil_mode,
         bool count_include_pad, std::optional<std::int64_t> divisor_override) {
        return ops::avg_pool(x, kernel_size.values, stride.values, padding.values, ceil_mode, count_include_pad,
                             divisor_override);
      },
      py::arg("x"), py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("padding") = 0,
      py::arg("ceil_mode") = false, py::arg("count_include_pad") = true, py::arg("divisor_override") = py::none());
  const auto adaptive = [&m](const char* name, const auto& op) {
    m.def(
        name, [op](const Tensor& x, const IntList& output_size) { return op(x, output_size.values); }, py::arg("x"),
        py::arg("output_size"));
  };
  adaptive("adaptive_avg_pool", &ops::adaptive_avg_pool);
  adaptive("adaptive_max_pool", &ops::adaptive_max_pool);
  adaptive("adaptive_max_pool_with_indices", &ops::adaptive_max_pool_with_indices);
}

// ---- bare kernels -------------------------------------------------------------------------------------------------

/// Size, stride, padding and dilation, as the Python side spells them out: heights and widths.
struct PoolWindow {
  std::array<std::int64_t, 2> size, stride, padding, dilation;
  bool ceil_mode;
};

Pool geometry(const char* op, const py::array& x, const PoolWindow& w) {
  NV_CHECK(x.ndim() == 4, op, "images must be (N, H, W, C), got ", shape_text(x));
  NV_CHECK(x.shape(1) >= 1 && x.shape(2) >= 1 && x.shape(3) >= 1, op, "only N may be 0, got ", shape_text(x));
  const auto axis = [&](std::size_t i) {
    return ops::pool_axis(op, x.shape(static_cast<py::ssize_t>(i) + 1), w.size[i], w.stride[i], w.padding[i],
                          w.dilation[i], w.ceil_mode);
  };
  const Pool pool{x.shape(0), x.shape(3), axis(0), axis(1)};
  ops::check_window_size(op, pool);
  return pool;
}

std::vector<py::ssize_t> output_shape(const Pool& pool) {
  return {pool.images, pool.height.out, pool.width.out, pool.channels};
}

/// The array of places: bytes where they suffice, else int32.
void* places_of(const char* op, const Pool& pool, const py::array& places) {
  const bool bytes = pool.places_fit_bytes();
  const py::dtype expected = bytes ? py::dtype::of<std::uint8_t>() : py::dtype::of<std::int32_t>();
  NV_CHECK_TYPE(places.dtype().equal(expected), op, "argmax must be ", bytes ? "uint8" : "int32", ", got ",
                py::str(places.dtype()).cast<std::string>());
  check_aligned(op, "argmax", places);
  check_c_contiguous(op, "argmax", places);
  check_shape(op, "argmax", places, output_shape(pool));
  return const_cast<void*>(places.data());
}

void max_pool2d_forward(const py::array& x, const PoolWindow& window, py::array& out,
                        std::optional<py::array>& argmax) {
  constexpr const char* op = "max_pool2d_forward";
  const Pool pool = geometry(op, x, window);
  const float* px = input(op, "x", x);
  float* y = output(op, "out", out);
  check_shape(op, "out", out, output_shape(pool));
  NV_CHECK(!overlap(out, x), op, "out must not share memory with x");
  kernels::PlacesOut places;
  if (argmax) {
    void* const p = places_of(op, pool, *argmax);
    NV_CHECK(argmax->writeable(), op, "argmax is read-only");
    check_apart(op, "argmax", *argmax, "x", x);
    check_apart(op, "argmax", *argmax, "out", out);
    if (pool.places_fit_bytes())
      places.bytes = static_cast<std::uint8_t*>(p);
    else
      places.words = static_cast<std::int32_t*>(p);
  }
  core::launch(x.size(), [=] { kernels::max_pool_forward(pool, px, y, places); });
}

void max_pool2d_backward(const py::array& dy, const py::array& argmax, const PoolWindow& window, py::array& out) {
  constexpr const char* op = "max_pool2d_backward";
  const Pool pool = geometry(op, out, window);
  const float* pdy = input(op, "dy", dy);
  check_shape(op, "dy", dy, output_shape(pool));
  float* dx = output(op, "out", out);
  NV_CHECK(!overlap(out, dy) && !overlap(out, argmax), op, "out must not share memory with dy or argmax");
  const void* const p = places_of(op, pool, argmax);
  kernels::Places places;
  if (pool.places_fit_bytes())
    places.bytes = static_cast<const std::uint8_t*>(p);
  else
    places.words = static_cast<const std::int32_t*>(p);
  core::launch(out.size(), [=] { kernels::max_pool_backward(pool, pdy, places, dx); });
}

void avg_pool2d_forward(const py::array& x, const PoolWindow& window, bool count_include_pad, py::array& out) {
  constexpr const char* op = "avg_pool2d_forward";
  const Pool pool = geometry(op, x, window);
  const float* px = input(op, "x", x);
  float* y = output(op, "out", out);
  check_shape(op, "out", out, output_shape(pool));
  NV_CHECK(!overlap(out, x), op, "out must not share memory with x");
  core::launch(x.size(), [=] { kernels::average_pool_forward(pool, {count_include_pad, 0}, px, y); });
}

void avg_pool2d_backward(const py::array& dy, const PoolWindow& window, bool count_include_pad, py::array& out) {
  constexpr const char* op = "avg_pool2d_backward";
  const Pool pool = geometry(op, out, window);
  const float* pdy = input(op, "dy", dy);
  check_shape(op, "dy", dy, output_shape(pool));
  float* dx = output(op, "out", out);
  NV_CHECK(!overlap(out, dy), op, "out must not share memory with dy");
  core::launch(out.size(), [=] { kernels::average_pool_backward(pool, {count_include_pad, 0}, pdy, dx); });
}

void bind_pool_arrays(py::module_ m) {
  using Pair = std::array<std::int64_t, 2>;
  py::class_<PoolWindow>(m, "PoolWindow")
      .def(py::init<Pair, Pair, Pair, Pair, bool>(), py::arg("size"), py::arg("stride"), py::arg("padding"),
           py::arg("dilation"), py::arg("ceil_mode"));
  m.def("max_pool2d_forward", &max_pool2d_forward, py::arg("x"), py::arg("window"), py::arg("out"), py::arg("argmax"));
  m.def("max_pool2d_backward", &max_pool2d_backward, py::arg("dy"), py::arg("argmax"), py::arg("window"),
        py::arg("out"));
  m.def("avg_pool2d_forward", &avg_pool2d_forward, py::arg("x"), py::arg("window"), py::arg("count_include_pad"),
        py::arg("out"));
  m.def("avg_pool2d_backward", &avg_pool2d_backward, py::arg("dy"), py::arg("window"), py::arg("count_include_pad"),
        py::arg("out"));
}

}  // namespace

void bind_pool(py::module_& m) {
  bind_pool_tensors(m);
  bind_pool_arrays(m.def_submodule("kernels"));
}

}  // namespace nervure::bindings
