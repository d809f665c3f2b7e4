// SPDX-License-Identifier: BSD-3-Clause
// A convolution as tiles of the product [pixels x depth] [depth x outputs] that read the pixels where they lie.
#pragma once

#include "kernels/conv_line.h"
#include "kernels/conv_sweep.h"
#include "kernels/gemm_block.h"

namespace nervure::kernels::NV_ISA {

/// A sweep over all images with the weights of its taps. Every target pixel is a row of the product
/// [pixels x depth] [depth x outputs], one for each group.
struct ConvJob {
  Sweep sweep;
  std::int64_t images, groups, outputs;  // outputs: of a group
  const float* source;
  const float* weights;  // of group g from g * depth * padded_outputs on, in panels
  Panels panels;
  const float* bias;
  Activation activation;
  // Pixel (i, j) of image n goes to target + n * image_step + i * row_step + j * column_step.
  float* target;
  std::int64_t image_step, row_step, column_step;

  RunPlan plan;
  const std::int64_t* offset;  // of the runs

  std::int64_t depth() const { return plan.count * plan.length; }
  std::int64_t padded_outputs() const { return ceil_div(outputs, kLanes) * kLanes; }
  bool by_lines() const { return is_short_line(depth(), sweep.columns); }
  void cut() { panels = by_lines() ? cut_line_panels(outputs) : cut_panels(outputs); }
};

/// target = activation(product + bias), unit of rows by unit of rows.
void run_job(const ConvJob& job);

}  // namespace nervure::kernels::NV_ISA
