// SPDX-License-Identifier: BSD-3-Clause
#include "ops/conv_settings.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

#include "core/check.h"

namespace nervure::ops {
namespace {

using kernels::ConvAlgorithm;

constexpr std::array<std::string_view, 4> kAlgorithms = {"auto", "im2col", "direct", "winograd"};

std::atomic<ConvAlgorithm> algorithm_in_force{ConvAlgorithm::automatic};
std::atomic<bool> fast_in_force{true};

}  // namespace

void set_conv_algorithm(const std::string& algorithm) {
  const auto found = std::find(kAlgorithms.begin(), kAlgorithms.end(), algorithm);
  NV_CHECK(found != kAlgorithms.end(), "set_conv_algorithm",
           "algorithm must be \"auto\", \"im2col\", \"direct\" or \"winograd\", got \"", algorithm, "\"");
  algorithm_in_force = static_cast<ConvAlgorithm>(found - kAlgorithms.begin());
}

std::string get_conv_algorithm() {
  return std::string(kAlgorithms[static_cast<std::size_t>(algorithm_in_force.load())]);
}

void set_conv_accuracy(const std::string& accuracy) {
  NV_CHECK(accuracy == "accurate" || accuracy == "fast", "set_conv_accuracy",
           "accuracy must be \"accurate\" or \"fast\", got \"", accuracy, "\"");
  fast_in_force = accuracy == "fast";
}

std::string get_conv_accuracy() { return fast_in_force ? "fast" : "accurate"; }

kernels::ConvOptions conv_options() { return {algorithm_in_force, fast_in_force}; }

}  // namespace nervure::ops
