// SPDX-License-Identifier: BSD-3-Clause
// The gradient of the weights: products summed over pixels instead of taps. Rows of a tile are taps and channels,
// which lie at fixed distances from the pixel; columns are output channels.
#include "core/scratch.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_parts.h"
#include "kernels/conv_slide.h"
#include "kernels/conv_sweep.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kPanelFloats = 24 * 1024;    // of dy under one panel: streams from the second-level cache
constexpr std::int64_t kSectionFloats = 96 * 1024;  // of dW that a task adds to: stays there
constexpr std::int64_t kCopyFloats = 96 * 1024;     // of x around a block of pixels
constexpr std::int64_t kMostRows = 64;              // of pixels in a block
constexpr int kSlideVectors = 2;                    // of a panel that gains from sliding
constexpr std::int64_t kPackedDepth = 48;           // rows of dW that pay for copying dy

/// Columns of dW under one tile, all of one group.
struct Panel {
  int vectors;
  std::int64_t column, columns, first_input;
};

struct Job {
  const Conv* conv;
  Sweep sweep;
  RunPlan plan;
  const std::int64_t* offset;          // of the runs
  Panels panels;                       // of a group's outputs
  std::int64_t images, rows, columns;  // of output pixels in a block; several images only if all of each
  bool packs;                          // dy under a panel that does not slide
  bool slides;                         // narrow panels under neighbouring taps

  std::int64_t width() const {
    return static_cast<std::int64_t>(larger(panels.vectors[0], panels.vectors[1])) * kLanes;
  }
  std::int64_t panels_of_group() const { return panels.count[0] + panels.count[1]; }

  Panel panel(std::int64_t index) const {
    const std::int64_t g = index / panels_of_group(), i = index - g * panels_of_group();
    const bool second = i >= panels.count[0];
    const std::int64_t first = static_cast<std::int64_t>(panels.vectors[0]) * kLanes;
    const std::int64_t width = static_cast<std::int64_t>(panels.vectors[second]) * kLanes;
    const std::int64_t column = second ? panels.count[0] * first + (i - panels.count[0]) * width : i * width;
    return {panels.vectors[second], g * conv->group_outputs() + column, smaller(width, conv->group_outputs() - column),
            g * conv->group_inputs()};
  }
};

/// Adds the products of a block of pixels to panels [first, last) of a part of dW.
class Block {
 public:
  Block(const Job& job, std::int64_t first, std::int64_t last, float* sum, float* packed)
      : job_(job), v_(*job.conv), first_(first), last_(last), sum_(sum), packed_(packed) {}

  /// `columns` pixels of each row; row i sees x from rows[i] on. dy is dense.
  void run(const float* x, const std::int64_t* rows, std::int64_t count, std::int64_t columns, const float* dy) {
    runs_ = {rows, count, columns, job_.sweep.column_step * v_.C};
    for (std::int64_t i = first_; i < last_; ++i) under_panel(x, dy, job_.panel(i));
    accumulate_ = true;
  }

 private:
  void under_panel(const float* x, const float* dy, const Panel& panel) {
    const std::int64_t width = static_cast<std::int64_t>(panel.vectors) * kLanes, pixels = runs_.count * runs_.length;
    const float* b = dy + panel.column;
    if (job_.slides && panel.vectors <= kSlideVectors) return in_slides(x, b, panel);
    if (is_dense(panel)) return in_dense_tiles(x, b, panel);
    if (job_.packs) pack_b(b, v_.K, false, pixels, panel.columns, panel.vectors, packed_, pixels);
    const RowTiles tiles = cut_rows(v_.depth(), max_tile_rows(panel.vectors));
    std::int64_t run = 0, within = 0;
    float* to = sum_ + panel.column;
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const int height = tiles.height + (t < tiles.taller);
      const float* from[kTileRows];
      float* c[kTileRows];
      for (int i = 0; i < height; ++i, to += v_.K) {
        from[i] = x + panel.first_input + job_.offset[run] + within;
        c[i] = to;
        if (++within == job_.plan.length) {
          within = 0;
          ++run;
        }
      }
      const ConvTileOutput out{c, panel.columns - width + kLanes, nullptr, accumulate_, false};
      conv_tile_function(height, panel.vectors, panel.columns < width)(from, runs_, job_.packs ? packed_ : b,
                                                                       job_.packs ? width : v_.K, out);
    }
  }

  /// All taps of a kernel row at once, for some of the rows and channels of the kernel at a time.
  void in_slides(const float* x, const float* b, const Panel& panel) {
    const std::int64_t inputs = v_.group_inputs(), tap_step = inputs * v_.K, runs_of_row = job_.plan.count / v_.R;
    const RowTiles tiles = cut_rows(v_.R * inputs, slide_factors(v_.S));
    for (std::int64_t column = 0; column < panel.columns; column += kLanes) {
      const SlideRows rows{runs_.offset,
                           runs_.count,
                           runs_.length,
                           runs_.step,
                           b + column,
                           v_.K,
                           smaller(panel.columns - column, kLanes)};
      float* const sum = sum_ + panel.column + column;
      std::int64_t r = 0, c = 0;
      for (std::int64_t t = 0; t < tiles.count; ++t) {
        const int factors = tiles.height + (t < tiles.taller);
        const float* from[kSlideFactors];
        float* to[kSlideFactors];
        for (int i = 0; i < factors; ++i) {
          from[i] = x + panel.first_input + job_.offset[r * runs_of_row] + c;
          to[i] = sum + (r * v_.S * inputs + c) * v_.K;
          if (++c == inputs) {
            c = 0;
            ++r;
          }
        }
        slide(v_.S, factors, rows, from, to, tap_step, accumulate_);
      }
    }
  }

  bool is_dense(const Panel& panel) const {
    return panel.vectors == 1 && panel.columns == kLanes && job_.plan.length % kLowRows == 0;
  }

  /// Rows of dW whose taps and channels lie side by side in the image.
  void in_dense_tiles(const float* x, const float* b, const Panel& panel) {
    float* to = sum_ + panel.column;
    for (std::int64_t run = 0; run < job_.plan.count; ++run) {
      const float* const from = x + panel.first_input + job_.offset[run];
      std::int64_t height = 0;
      for (std::int64_t at = 0; at < job_.plan.length; at += height, to += height * v_.K) {
        const bool tall = job_.plan.length - at >= kTallRows;
        height = tall ? kTallRows : kLowRows;
        dense_conv_tile(tall, from + at, runs_, b, v_.K, to, v_.K, accumulate_);
      }
    }
  }

  const Job& job_;
  const Conv& v_;
  std::int64_t first_, last_;
  float *sum_, *packed_;
  TileRuns runs_{};
  bool accumulate_ = false;
};

void cut_blocks(const Conv& v, Job& job) {
  const std::int64_t pixels = larger(kPanelFloats / job.width(), 1), pitch = job.sweep.pitch() * v.stride_h;
  job.columns = ceil_div(v.Q, ceil_div(v.Q, pixels));
  job.rows = job.columns < v.Q ? 1 : smaller(smaller(pixels / v.Q, larger(kCopyFloats / pitch, 1)), kMostRows);
  job.rows = ceil_div(v.P, ceil_div(v.P, smaller(job.rows, v.P)));
  job.images = 1;
  if (job.rows < v.P || job.columns < v.Q) return;
  const std::int64_t fitting = smaller(pixels / (v.P * v.Q), kMostRows / v.P);
  job.images = larger(smaller(smaller(fitting, kCopyFloats / (v.P * pitch)), ceil_div(v.N, 4)), 1);
}

/// Block number `index`: some rows of an image, or some whole images.
void add_block(const Job& job, std::int64_t index, const float* x, const float* dy, float* copy, Block& block) {
  const Conv& v = *job.conv;
  const Sweep& s = job.sweep;
  const std::int64_t per_image = ceil_div(v.P, job.rows);
  const std::int64_t n = index / per_image * job.images, first = index % per_image * job.rows;
  const std::int64_t images = smaller(job.images, v.N - n), last = smaller(first + job.rows, v.P);
  const std::int64_t image_size = v.H * v.W * v.C;
  const std::int64_t distance = s.inside() ? image_size : s.copy_size(last - first);
  const float* source = nullptr;
  std::int64_t rows[kMostRows];
  for (std::int64_t i = 0; i < images; ++i) {
    const float* from = source_rows(s, x + (n + i) * image_size, first, last, copy + i * distance);
    if (i == 0) source = from;
    for (std::int64_t p = 0; p < last - first; ++p)
      rows[i * (last - first) + p] = i * distance + p * s.row_step * s.pitch();
  }
  for (std::int64_t q = 0; q < v.Q; q += job.columns)
    block.run(source + q * s.column_step * v.C, rows, images * (last - first), smaller(job.columns, v.Q - q),
              dy + ((n * v.P + first) * v.Q + q) * v.K);
}

}  // namespace

void direct_backward_weight(const Conv& v, const float* x, const float* dy, float* dw) {
  const core::Scratch<std::int64_t> numbers(static_cast<std::size_t>(2 * (v.R + v.S) + v.R * v.S));
  Job job{};
  job.conv = &v;
  job.sweep = forward_sweep(v, numbers.get());
  job.plan = plan_runs(job.sweep, v.group_inputs());
  std::int64_t* const offset = numbers.get() + 2 * (v.R + v.S);
  fill_runs(job.sweep, job.plan, offset);
  job.offset = offset;
  job.panels = cut_panels(v.group_outputs());
  job.packs = v.K > job.width() && v.depth() >= kPackedDepth;
  cut_blocks(v, job);
  job.slides = slide_factors(v.S) > 0 && v.stride_w == 1 && v.dilation_w == 1 && job.columns == v.Q && v.Q >= v.S;

  const std::int64_t panels = v.groups * job.panels_of_group();
  const std::int64_t in_section = larger(kSectionFloats / (v.depth() * job.width()), 1);
  const std::int64_t blocks = ceil_div(v.N, job.images) * ceil_div(v.P, job.rows);
  sum_parts(blocks, v.depth() * v.K, ceil_div(panels, in_section), dw, [&](const Part& part) {
    const core::Scratch<float> copy(static_cast<std::size_t>(job.images * job.sweep.copy_size(job.rows) + 1));
    const core::Scratch<float> packed(static_cast<std::size_t>(job.images * job.rows * job.columns * job.width()));
    const std::int64_t first = part.section * in_section;
    Block block(job, first, smaller(first + in_section, panels), part.sum, packed.get());
    for (std::int64_t i = part.begin; i < part.end; ++i) add_block(job, i, x, dy, copy.get(), block);
  });
}

}  // namespace nervure::kernels::NV_ISA
