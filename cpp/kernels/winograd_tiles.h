// SPDX-License-Identifier: BSD-3-Clause
// Squares of an image and their transforms, for a run of consecutive tiles and many channels. What belongs to one point
// of the transform, [tile][channel], is the operand of a matrix product.
#pragma once

#include <cstdint>

#include "kernels/lanes.h"
#include "kernels/winograd_points.h"

namespace nervure::kernels::NV_ISA {
namespace {

NV_INLINE std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// A map of pixels with dense channels. A tile takes every so-manyth pixel (the dilation): those between belong to
/// other tiles, as to other images.
struct Pixels {
  std::int64_t height, width, channels;
  std::int64_t row_step = 1, column_step = 1;
};

/// The corner of one tile's square in an image; may lie outside.
struct Corner {
  std::int64_t image, row, column;
};

/// Tiles of all images in row-major order. With a step of 1 tile (i, j) begins at pixel (i tile - pad_top,
/// j tile - pad_left); with another as many tiles begin at neighbouring pixels before the next so far away.
class TileGrid {
 public:
  TileGrid(std::int64_t images, const Pixels& out, int tile)
      : tile_(tile),
        row_step_(smaller(out.row_step, out.height)),
        column_step_(smaller(out.column_step, out.width)),
        rows_(ceil_div(ceil_div(out.height, row_step_), tile) * row_step_),
        columns_(ceil_div(ceil_div(out.width, column_step_), tile) * column_step_),
        images_(images) {}

  std::int64_t count() const { return images_ * rows_ * columns_; }

  /// body(tile - begin, corner) for tiles [begin, end).
  template <class Body>
  inline void walk(std::int64_t begin, std::int64_t end, std::int64_t pad_top, std::int64_t pad_left,
                   const Body& body) const {
    std::int64_t column = begin % columns_, row = begin / columns_ % rows_, image = begin / columns_ / rows_;
    for (std::int64_t tile = begin; tile < end; ++tile) {
      body(tile - begin, Corner{image, first(row, row_step_) - pad_top, first(column, column_step_) - pad_left});
      if (++column < columns_) continue;
      column = 0;
      if (++row < rows_) continue;
      row = 0;
      ++image;
    }
  }

 private:
  std::int64_t first(std::int64_t number, std::int64_t step) const {
    return step == 1 ? number * tile_ : number / step * (step * tile_) + number % step;
  }

  std::int64_t tile_, row_step_, column_step_, rows_, columns_, images_;
};

/// Where the transform of one tile goes: point (i, j) of a channel at to + i * row + j * column + channel. (Streams a
/// multiple of a page apart, and 36 of them, would miss the translation cache at every store: 2.5 times as long.)
struct Spread {
  float* to;
  std::int64_t row, column;
};

/// The transform of the square of Map::kIn pixels a side at `from`, wholly inside an image, for channels [begin, end).
template <class Map>
__attribute__((noinline)) void spread_inner(const float* from, const Pixels& image, std::int64_t begin,
                                            std::int64_t end, const Spread& spread) {
  const std::int64_t row_stride = image.row_step * image.width * image.channels;
  const std::int64_t column_stride = image.column_step * image.channels;
  float* const to = spread.to - begin;
  const std::int64_t to_row = spread.row, to_column = spread.column;  // memory the compiler need not read again
  for_vectors(begin, end, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    transform_square<Map>(
        [&](int i, int j) NV_INLINE_LAMBDA { return load_some(from + i * row_stride + j * column_stride + c, count); },
        [&](int i, int j, vf v) NV_INLINE_LAMBDA { store(to + i * to_row + j * to_column + c, v); });
  });
}

/// The same for a square that sticks out: pixels outside are zero.
template <class Map>
__attribute__((noinline)) void spread_edge(const float* images, const Corner& corner, const Pixels& image,
                                           const float* zeros, std::int64_t begin, std::int64_t end,
                                           const Spread& spread) {
  float* const to = spread.to - begin;
  const std::int64_t to_row = spread.row, to_column = spread.column;
  const float* pixel[Map::kIn][Map::kIn];
  std::int64_t offset[Map::kIn];  // of a column in its row, or -1
  for (int j = 0; j < Map::kIn; ++j) {
    const std::int64_t column = corner.column + j * image.column_step;
    offset[j] = column >= 0 && column < image.width ? column * image.channels : -1;
  }
  for (int i = 0; i < Map::kIn; ++i) {
    const std::int64_t row = corner.row + i * image.row_step;
    const bool inside = row >= 0 && row < image.height;
    const std::int64_t first = (corner.image * image.height + row) * image.width * image.channels;
    for (int j = 0; j < Map::kIn; ++j) pixel[i][j] = inside && offset[j] >= 0 ? images + first + offset[j] : zeros;
  }
  for_vectors(begin, end, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    transform_square<Map>([&](int i, int j) NV_INLINE_LAMBDA { return load_some(pixel[i][j] + c, count); },
                          [&](int i, int j, vf v) NV_INLINE_LAMBDA { store(to + i * to_row + j * to_column + c, v); });
  });
}

/// Channels [begin, end) of one square, the lanes of the last vector past `end` zero. `zeros`: image.channels of them.
template <class Map>
inline void spread_tile(const float* images, const Corner& corner, const Pixels& image, const float* zeros,
                        std::int64_t begin, std::int64_t end, const Spread& spread) {
  constexpr std::int64_t kLast = Map::kIn - 1;
  const bool inner = corner.row >= 0 && corner.row + kLast * image.row_step < image.height && corner.column >= 0 &&
                     corner.column + kLast * image.column_step < image.width;
  if (!inner) return spread_edge<Map>(images, corner, image, zeros, begin, end, spread);
  const float* from =
      images + ((corner.image * image.height + corner.row) * image.width + corner.column) * image.channels;
  spread_inner<Map>(from, image, begin, end, spread);
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
