// SPDX-License-Identifier: BSD-3-Clause
// How a kernel passes over an image: the geometry that forward, backward-data and backward-weight share.
#pragma once

#include "kernels/conv.h"
#include "kernels/conv_tile.h"
#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {

/// The taps of the kernel along one direction. Tap number i of the kernel, number[i], is seen at offset[i] source
/// pixels behind the first pixel under it; offsets ascend.
struct Taps {
  std::int64_t count;
  std::int64_t *offset, *number;
  std::int64_t reach() const { return count ? offset[count - 1] : 0; }
};

/// A grid of rows x columns target pixels and the source pixels under them. The first target pixel sees source pixels
/// from (first_row, first_column) on, which may lie outside the image, its neighbours those row_step or column_step
/// further.
struct Sweep {
  std::int64_t height, width, channels;  // of the source
  std::int64_t rows, columns;            // of the grid
  std::int64_t first_row, first_column, row_step, column_step;
  Taps down, across;

  /// Pixels of a row that the grid looks at.
  std::int64_t seen_columns() const { return (columns - 1) * column_step + across.reach() + 1; }
  std::int64_t seen_rows(std::int64_t grid_rows) const { return (grid_rows - 1) * row_step + down.reach() + 1; }
  /// Whether the image needs no zeros around it.
  bool inside() const {
    return first_row >= 0 && first_column >= 0 && first_row + seen_rows(rows) <= height &&
           first_column + seen_columns() <= width;
  }
  /// Floats between rows of what the tiles read: the image itself, or the copy with zeros around it. Not a multiple of
  /// 4 KiB, at which rows would compete for one set of the cache.
  std::int64_t pitch() const {
    if (inside()) return width * channels;
    const std::int64_t floats = seen_columns() * channels;
    return floats % 1024 == 0 ? floats + 16 : floats;
  }
  /// Floats of a copy of what `grid_rows` rows of the grid see; 0 if the image can be read in place.
  std::int64_t copy_size(std::int64_t grid_rows) const { return inside() ? 0 : seen_rows(grid_rows) * pitch(); }
};

/// y as the grid, x as the source. `memory` takes 2 (R + S) numbers.
Sweep forward_sweep(const Conv& conv, std::int64_t* memory);

/// Pixels (i stride + phase) of dx as the grid, dy as the source: the pixel gets y[i + (phase + pad - tap dilation) /
/// stride] through the taps for which that is whole. There may be none. `memory` as for forward_sweep().
Sweep data_sweep(const Conv& conv, std::int64_t row_phase, std::int64_t column_phase, std::int64_t* memory);

/// The source under rows [begin, ...) of the grid: in place, or copied with zeros around it.
const float* source_rows(const Sweep& sweep, const float* image, std::int64_t begin, std::int64_t end, float* copy);

/// Channels of a group under one pixel, as runs: all taps of a row at once where they are neighbours.
struct RunPlan {
  std::int64_t count, length;  // of the runs
};
RunPlan plan_runs(const Sweep& sweep, std::int64_t group_channels);
void fill_runs(const Sweep& sweep, const RunPlan& plan, std::int64_t* offset);

/// Rows of the grid to a unit of work: many enough to pay for reading the weights, few enough that what they see stays
/// in the cache and that there is work for several threads.
std::int64_t rows_of_unit(const Sweep& sweep, std::int64_t images);

}  // namespace nervure::kernels::NV_ISA
