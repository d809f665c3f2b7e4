// SPDX-License-Identifier: BSD-3-Clause
// The gradient of the weights: products summed over pixels instead of taps. Rows of a tile are taps and channels,
// which lie at fixed distances from the pixel; columns are output channels.
#include "core/scratch.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_parts.h"
#include "kernels/conv_sweep.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kPanelFloats = 6 * 1024;  // of dy under one panel: stays in the first-level cache
constexpr std::int64_t kPackedDepth = 48;        // rows of dW that pay for copying dy

struct Job {
  const Conv* conv;
  Sweep sweep;
  RunPlan plan;
  const std::int64_t* offset;  // of the runs
  Panels panels;               // of a group's outputs
  std::int64_t rows, columns;  // of output pixels in a block
  bool packs;

  std::int64_t width() const {
    return static_cast<std::int64_t>(larger(panels.vectors[0], panels.vectors[1])) * kLanes;
  }
};

/// Adds the products of one block of pixels to a part of dW.
class Block {
 public:
  Block(const Job& job, float* sum, bool first, float* packed)
      : job_(job), v_(*job.conv), sum_(sum), first_(first), packed_(packed) {}

  /// `rows` x `columns` pixels; x at the first tap of the first pixel, dy at the first pixel.
  void run(const float* x, const float* dy, std::int64_t rows, std::int64_t columns) {
    const std::int64_t row_step = job_.sweep.row_step * job_.sweep.pitch();
    for (std::int64_t i = 0; i < rows; ++i) rows_[i] = i * row_step;
    runs_ = {rows_, rows, columns, job_.sweep.column_step * v_.C};
    pixels_ = rows * columns;
    for (std::int64_t g = 0; g < v_.groups; ++g) {
      std::int64_t column = g * v_.group_outputs();
      for (int s = 0; s < 2; ++s)
        for (std::int64_t panel = 0; panel < job_.panels.count[s]; ++panel) {
          const std::int64_t width = static_cast<std::int64_t>(job_.panels.vectors[s]) * kLanes;
          under_panel(x + g * v_.group_inputs(), dy, column, smaller(width, (g + 1) * v_.group_outputs() - column),
                      job_.panels.vectors[s]);
          column += width;
        }
    }
    first_ = false;
  }

  static constexpr std::int64_t kMostRows = 64;

 private:
  void under_panel(const float* x, const float* dy, std::int64_t column, std::int64_t columns, int vectors) {
    const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
    const float* b = dy + column;
    if (job_.packs) pack_b(b, v_.K, false, pixels_, columns, vectors, packed_, pixels_);
    const RowTiles tiles = cut_rows(v_.depth(), max_tile_rows(vectors));
    std::int64_t run = 0, within = 0;
    float* to = sum_ + column;
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const int height = tiles.height + (t < tiles.taller);
      const float* from[kTileRows];
      float* c[kTileRows];
      for (int i = 0; i < height; ++i, to += v_.K) {
        from[i] = x + job_.offset[run] + within;
        c[i] = to;
        if (++within == job_.plan.length) {
          within = 0;
          ++run;
        }
      }
      const ConvTileOutput out{c, columns - width + kLanes, nullptr, !first_, false};
      conv_tile_function(height, vectors, columns < width)(from, runs_, job_.packs ? packed_ : b,
                                                           job_.packs ? width : v_.K, out);
    }
  }

  const Job& job_;
  const Conv& v_;
  float* sum_;
  bool first_;
  float* packed_;
  std::int64_t rows_[kMostRows];
  TileRuns runs_{};
  std::int64_t pixels_ = 0;
};

/// Rows and columns of pixels whose dy, under one panel, stays in the first-level cache.
void cut_block(const Conv& v, Job& job) {
  const std::int64_t pixels = larger(kPanelFloats / job.width(), 1);
  job.columns = ceil_div(v.Q, ceil_div(v.Q, pixels));
  job.rows = job.columns < v.Q ? 1 : smaller(smaller(pixels / v.Q, v.P), Block::kMostRows);
  job.rows = ceil_div(v.P, ceil_div(v.P, job.rows));
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
  cut_block(v, job);

  const std::int64_t per_image = ceil_div(v.P, job.rows);
  sum_parts(v.N * per_image, v.depth() * v.K, dw, [&](std::int64_t begin, std::int64_t end, float* sum) {
    const core::Scratch<float> copy(static_cast<std::size_t>(job.sweep.copy_size(job.rows) + 1));
    const core::Scratch<float> packed(static_cast<std::size_t>(job.rows * job.columns * job.width()));
    Block block(job, sum, true, packed.get());
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t n = unit / per_image, first = unit % per_image * job.rows;
      const std::int64_t last = smaller(first + job.rows, v.P);
      const float* source = source_rows(job.sweep, x + n * v.H * v.W * v.C, first, last, copy.get());
      for (std::int64_t q = 0; q < v.Q; q += job.columns)
        block.run(source + q * v.stride_w * v.C, dy + ((n * v.P + first) * v.Q + q) * v.K, last - first,
                  smaller(job.columns, v.Q - q));
    }
  });
}

}  // namespace nervure::kernels::NV_ISA
