// SPDX-License-Identifier: BSD-3-Clause
// Which instruction sets this processor has, and which one the kernels use.
#pragma once

#include <atomic>
#include <string>
#include <vector>

namespace nervure::core {

enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2 };

#if defined(__x86_64__) || defined(_M_X64)
inline constexpr int kIsaCount = 3;
#else
inline constexpr int kIsaCount = 1;
#endif

/// Index into the variants of every kernel. Written only by select_isa().
extern std::atomic<int> active_isa_index;

const char* isa_name(Isa isa);
Isa active_isa();
/// The instruction sets this processor and operating system can run, lowest first.
std::vector<Isa> available_isas();
/// Use `name` ("baseline", "avx2", "avx512") from now on; throws std::invalid_argument when unknown or not available.
void select_isa(const std::string& name);
/// The processor's own name, e.g. "AMD EPYC 9B14".
std::string cpu_name();

}  // namespace nervure::core
