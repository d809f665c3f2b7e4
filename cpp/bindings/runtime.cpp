// SPDX-License-Identifier: BSD-3-Clause
#include <cstdlib>

#include "bindings/bindings.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "core/storage.h"

namespace nervure::bindings {
namespace {

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (core::Isa isa : core::available_isas()) names.emplace_back(core::isa_name(isa));
  return names;
}

py::dict config() {
  py::dict d;
  d["version"] = NERVURE_VERSION;
  d["cpu"] = core::cpu_name();
  d["isa"] = core::isa_name(core::active_isa());
  d["available_isas"] = available_isas();
  d["threads"] = core::num_threads();
  d["threads_from"] = core::num_threads_source();
  d["threading"] = core::threading_backend();
  d["compiler"] = __VERSION__;
  d["build_type"] = NERVURE_BUILD_TYPE;
  return d;
}

py::dict memory_stats() {
  const core::MemoryStats stats = core::memory_stats();
  py::dict d;
  d["live_bytes"] = stats.live_bytes;
  d["peak_bytes"] = stats.peak_bytes;
  d["cached_bytes"] = stats.cached_bytes;
  d["allocations"] = stats.allocations;
  d["system_allocations"] = stats.system_allocations;
  return d;
}

}  // namespace

void bind_runtime(py::module_& m) {
  const char* isa = std::getenv("NERVURE_ISA");
  core::select_isa(isa ? isa : "");

  m.def("config", &config, "Version, processor, instruction set, threads, compiler and build type.");
  m.def("select_isa", &core::select_isa, py::arg("name"),
        "Use the kernels of this instruction set from now on; an empty name means the best available.");
  m.def("available_isas", &available_isas, "Instruction sets this processor can run, lowest first.");
  m.def("set_num_threads", &core::set_num_threads, py::arg("threads"));
  m.def("get_num_threads", &core::num_threads);
  m.def("memory_stats", &memory_stats);
  m.def("reset_peak_memory", &core::reset_peak_memory);
  m.def("trim_memory", &core::trim_memory);
  m.def("manual_seed", &core::manual_seed, py::arg("seed"));
  m.def("initial_seed", &core::initial_seed);
  m.def("rng_state", [] {
    const core::RngStream state = core::rng_state();
    return py::make_tuple(state.seed, state.offset);
  });
  m.def(
      "set_rng_state", [](std::uint64_t seed, std::uint64_t offset) { core::set_rng_state({seed, offset}); },
      py::arg("seed"), py::arg("offset"));
  m.def("grad_enabled", &core::grad_enabled);
  m.def("set_grad_enabled", &core::set_grad_enabled, py::arg("enabled"));
}

}  // namespace nervure::bindings

// For threadpoolctl, which looks for them in the loaded library.
extern "C" {
__attribute__((visibility("default"))) void nervure_set_num_threads(int threads) {
  if (threads >= 1 && threads <= nervure::core::kMaxThreads) nervure::core::set_num_threads(threads);
}
__attribute__((visibility("default"))) int nervure_get_num_threads() { return nervure::core::num_threads(); }
}
