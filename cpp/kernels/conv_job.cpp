// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_job.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/gemm_epilogue.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 200'000;  // multiply-adds, as in gemm.cpp
// Weights that stay in the second-level cache while the pixels of a unit pass by.
#if defined(__AVX512F__)
constexpr std::int64_t kWeightFloats = 144 * 1024;
#else
constexpr std::int64_t kWeightFloats = 48 * 1024;
#endif

constexpr std::int64_t kPiece = 112;             // pixels of a long line between which its panels change
constexpr std::int64_t kFarFloats = 128 * 1024;  // a target that need not lie in the second-level cache

/// The tiles of one unit: rows [begin, end) of the grid on one image.
class Unit {
 public:
  Unit(const ConvJob& job, bool by_lines, std::int64_t image, std::int64_t begin, std::int64_t end, const float* source)
      : job_(job), by_lines_(by_lines), pixels_((end - begin) * job.sweep.columns), source_(source) {
    target_ = job.target + image * job.image_step + begin * job.row_step;
    source_row_ = job.sweep.row_step * job.sweep.pitch();
    source_column_ = job.sweep.column_step * job.sweep.channels;
  }

  void run() {
    for (group_ = 0; group_ < job_.groups; ++group_) {
      const float* weights = job_.weights + group_ * job_.depth() * job_.padded_outputs();
      std::int64_t column = 0;
      for (int s = 0; s < 2; ++s) {
        const std::int64_t count = job_.panels.count[s];
        if (!count) continue;
        vectors_ = job_.panels.vectors[s];
        const std::int64_t width = static_cast<std::int64_t>(vectors_) * kLanes;
        if (by_lines_ && job_.sweep.rows == 1 && job_.sweep.columns > 2 * kPiece && job_.sweep.inside())
          in_pieces(weights, column, count, width);
        else if (by_lines_)
          in_lines(weights, column, count, width);
        else
          in_blocks(weights, column, count, width);
        weights += count * width * job_.depth();
        column += count * width;
      }
    }
  }

 private:
  /// Panel by panel, each under all lines: it stays in the first-level cache. The first one brings the memory of the
  /// next line.
  void in_lines(const float* weights, std::int64_t column, std::int64_t count, std::int64_t width) {
    for (; count > 0; --count, column += width, weights += width * job_.depth()) {
      ConvLine line = line_of(weights, column, width, job_.sweep.columns);
      const bool brings = column == 0 && brings_ahead();
      line.ahead_step = line.y_step;
      for (std::int64_t i = 0; i < pixels_; i += job_.sweep.columns) {
        line.ahead = brings ? line.y + job_.row_step : nullptr;
        run_line(line);
        line.x += source_row_;
        line.y += job_.row_step;
      }
    }
  }

  /// One long line that is read in place. Piece after piece, each under all panels, so that the memory of the next one
  /// can be fetched evenly.
  void in_pieces(const float* weights, std::int64_t column, std::int64_t count, std::int64_t width) {
    const std::int64_t pieces = ceil_div(pixels_, kPiece), step = ceil_div(pixels_, pieces);
    for (std::int64_t j = 0; j < pixels_; j += step)
      for (std::int64_t panel = 0; panel < count; ++panel) {
        ConvLine line =
            line_of(weights + panel * width * job_.depth(), column + panel * width, width, smaller(step, pixels_ - j));
        line.x += j * line.x_step;
        line.y += j * line.y_step;
        if (column == 0 && brings_ahead()) share_ahead(panel, count, line);
        run_line(line);
      }
  }

  bool brings_ahead() const { return vectors_ == 2 && group_ == 0 && job_.images * job_.image_step > kFarFloats; }

  /// Some of the panels bring what the next piece writes, the others what it reads.
  void share_ahead(std::int64_t panel, std::int64_t panels, ConvLine& line) const {
    const std::int64_t wanted = panels * line.y_step / (line.x_step + line.y_step);
    const std::int64_t writers = panels == 1 ? 1 : larger(wanted, 1);
    const bool writes = panel < writers;
    const float* const from =
        writes ? line.y - panel * kLanes * vectors_ + line.pixels * line.y_step : line.x + line.pixels * line.x_step;
    line.ahead_step = writes ? ceil_div(line.y_step, writers) : ceil_div(line.x_step, panels - writers);
    line.ahead = from + (writes ? panel : panel - writers) * line.pixels * line.ahead_step;
  }

  ConvLine line_of(const float* weights, std::int64_t column, std::int64_t width, std::int64_t pixels) const {
    const std::int64_t first = group_ * job_.outputs + column;
    return {source_ + group_ * (job_.sweep.channels / job_.groups),
            source_column_,
            job_.offset,
            job_.plan.count,
            job_.plan.length,
            weights,
            job_.bias ? job_.bias + first : nullptr,
            target_ + first,
            job_.column_step,
            pixels,
            smaller(width, job_.outputs - column),
            job_.activation == Activation::relu,
            nullptr,
            0};
  }

  void run_line(const ConvLine& line) const {
    conv_line(vectors_, line);
    if (job_.activation == Activation::none || job_.activation == Activation::relu) return;
    for (std::int64_t j = 0; j < line.pixels; ++j)
      activate_rows(job_.activation, 1, line.columns, line.y + j * line.y_step, 0);
  }

  /// Panels of one width, in blocks of weights that fit the cache: some panels at a time, or part of their depth.
  void in_blocks(const float* weights, std::int64_t column, std::int64_t count, std::int64_t width) {
    const std::int64_t runs = larger(smaller(kWeightFloats / (width * job_.plan.length), job_.plan.count), 1);
    const std::int64_t group = larger(kWeightFloats / (width * job_.depth()), 1);
    for (std::int64_t first = 0; first < count; first += group)
      for (std::int64_t run = 0; run < job_.plan.count; run += runs) {
        runs_ = {job_.offset + run, smaller(runs, job_.plan.count - run), job_.plan.length, 1};
        accumulate_ = run > 0;
        last_ = run + runs >= job_.plan.count;
        pass(weights + first * width * job_.depth() + run * job_.plan.length * width, column + first * width,
             smaller(group, count - first), width);
      }
  }

  void pass(const float* weights, std::int64_t column, std::int64_t panels, std::int64_t width) {
    const RowTiles tiles = cut_rows(pixels_, max_tile_rows(vectors_));
    std::int64_t i = 0, j = 0;
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const int height = tiles.height + (t < tiles.taller);
      for (int r = 0; r < height; ++r) {
        from_[r] = source_ + i * source_row_ + j * source_column_ + group_ * (job_.sweep.channels / job_.groups);
        to_[r] = target_ + i * job_.row_step + j * job_.column_step + group_ * job_.outputs + column;
        if (++j == job_.sweep.columns) {
          j = 0;
          ++i;
        }
      }
      under_panels(height, weights, column, panels, width);
    }
  }

  void under_panels(int height, const float* weights, std::int64_t column, std::int64_t panels, std::int64_t width) {
    for (std::int64_t panel = 0; panel < panels; ++panel, column += width) {
      const std::int64_t columns = smaller(width, job_.outputs - column);
      const bool masked = columns < width;
      const ConvTileOutput out{to_, columns - width + kLanes,
                               last_ && job_.bias ? job_.bias + group_ * job_.outputs + column : nullptr, accumulate_,
                               last_ && job_.activation == Activation::relu};
      conv_tile_function(height, vectors_, masked)(from_, runs_, weights + panel * width * job_.depth(), width, out);
      if (last_ && job_.activation != Activation::none && job_.activation != Activation::relu)
        for (int r = 0; r < height; ++r) activate_rows(job_.activation, 1, columns, to_[r], 0);
      for (int r = 0; r < height; ++r) to_[r] += width;
    }
  }

  const ConvJob& job_;
  bool by_lines_;
  std::int64_t pixels_, group_ = 0, source_row_, source_column_;
  const float* source_;
  float* target_;
  int vectors_ = 0;
  TileRuns runs_{};
  bool accumulate_ = false, last_ = false;
  const float* from_[kTileRows];
  float* to_[kTileRows];
};

constexpr std::int64_t kLinePixels = 512;

/// A long line of pixels under a kernel of one row (a 1-D convolution) is cut along the line.
bool is_line(const Sweep& s) { return s.rows == 1 && s.down.reach() == 0 && s.columns > 2 * kLinePixels; }

void run_line(const ConvJob& job) {
  const Sweep& line = job.sweep;
  const bool lines = job.by_lines();
  const std::int64_t pieces = ceil_div(line.columns, kLinePixels), step = ceil_div(line.columns, pieces);
  const std::int64_t work = larger(step * job.depth() * job.groups * job.outputs, 1);
  const std::int64_t seen = (step - 1) * line.column_step + line.across.reach() + 1;
  core::parallel_for(job.images * pieces, larger(kChunk / work, 1), [&](std::int64_t first, std::int64_t end) {
    const core::Scratch<float> copy(static_cast<std::size_t>(seen * line.channels + 16));
    for (std::int64_t unit = first; unit < end; ++unit) {
      const std::int64_t n = unit / pieces, begin = unit % pieces * step;
      if (begin >= line.columns) continue;  // the others were rounded up
      ConvJob piece = job;
      piece.sweep.columns = smaller(step, line.columns - begin);
      piece.sweep.first_column += begin * line.column_step;
      piece.target += begin * job.column_step;
      const float* image = job.source + n * line.height * line.width * line.channels;
      Unit(piece, lines, n, 0, 1, source_rows(piece.sweep, image, 0, 1, copy.get())).run();
    }
  });
}

}  // namespace

void run_job(const ConvJob& job) {
  if (is_line(job.sweep)) return run_line(job);
  const Sweep& sweep = job.sweep;
  const bool lines = job.by_lines();
  const std::int64_t rows = rows_of_unit(sweep, job.images), per_image = ceil_div(sweep.rows, rows);
  const std::int64_t work = larger(rows * sweep.columns * job.depth() * job.groups * job.outputs, 1);
  core::parallel_for(job.images * per_image, larger(kChunk / work, 1), [&](std::int64_t first, std::int64_t end) {
    const core::Scratch<float> copy(static_cast<std::size_t>(sweep.copy_size(rows) + 1));
    for (std::int64_t unit = first; unit < end; ++unit) {
      const std::int64_t n = unit / per_image, begin = unit % per_image * rows;
      const std::int64_t last = smaller(begin + rows, sweep.rows);
      const float* image = job.source + n * sweep.height * sweep.width * sweep.channels;
      Unit(job, lines, n, begin, last, source_rows(sweep, image, begin, last, copy.get())).run();
    }
  });
}

}  // namespace nervure::kernels::NV_ISA
