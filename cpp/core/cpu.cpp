// SPDX-License-Identifier: BSD-3-Clause
#include "core/cpu.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

namespace nervure::core {
namespace {

#if defined(__x86_64__) || defined(_M_X64)

// Own cpuid code: __builtin_cpu_supports answers "no" to everything under some compilers' runtimes (zig c++).
struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

bool all_bits(unsigned value, std::initializer_list<int> bits) {
  for (int bit : bits)
    if (!((value >> bit) & 1u)) return false;
  return true;
}

/// Register state the operating system saves on a context switch (XCR0).
std::uint64_t saved_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

Isa detect() {
  if (cpuid(0).eax < 7) return Isa::baseline;
  const Registers one = cpuid(1);
  const Registers seven = cpuid(7);
  const bool osxsave = all_bits(one.ecx, {27});
  if (!osxsave) return Isa::baseline;
  const std::uint64_t state = saved_state();
  const bool ymm_saved = (state & 0x06) == 0x06;
  const bool zmm_saved = (state & 0xE6) == 0xE6;
  // x86-64-v3: FMA, MOVBE, F16C, AVX | BMI1, AVX2, BMI2 | LZCNT
  const bool v3 = ymm_saved && all_bits(one.ecx, {12, 22, 28, 29}) && all_bits(seven.ebx, {3, 5, 8}) &&
                  all_bits(cpuid(0x80000001u).ecx, {5});
  // x86-64-v4: AVX-512 F, DQ, CD, BW, VL
  const bool v4 = v3 && zmm_saved && all_bits(seven.ebx, {16, 17, 28, 30, 31});
  return v4 ? Isa::avx512 : v3 ? Isa::avx2 : Isa::baseline;
}

#else

Isa detect() { return Isa::baseline; }

#endif

Isa best_isa() {
  static const Isa best = detect();
  return best;
}

Isa parse_isa(const std::string& name) {
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    if (name == isa_name(isa)) return isa;
  throw std::invalid_argument("[isa] expected baseline, avx2 or avx512, got '" + name + "'");
}

}  // namespace

// A constant until select_isa() runs at import: kernels called earlier take the baseline.
constinit std::atomic<int> active_isa_index{0};

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::baseline:
      break;
  }
  return "baseline";
}

Isa active_isa() { return static_cast<Isa>(active_isa_index.load(std::memory_order_relaxed)); }

std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (int i = 0; i <= static_cast<int>(best_isa()); ++i) found.push_back(static_cast<Isa>(i));
  return found;
}

void select_isa(const std::string& name) {
  const Isa wanted = name.empty() ? best_isa() : parse_isa(name);
  if (static_cast<int>(wanted) > static_cast<int>(best_isa()))
    throw std::invalid_argument("[isa] this processor cannot run '" + name + "'; its best is '" + isa_name(best_isa()) +
                                "'");
  active_isa_index.store(static_cast<int>(wanted), std::memory_order_relaxed);
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const auto colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace nervure::core
