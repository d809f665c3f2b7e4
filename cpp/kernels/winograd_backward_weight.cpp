// SPDX-License-Identifier: BSD-3-Clause
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv_tile.h"
#include "kernels/gemm_block.h"
#include "kernels/winograd.h"
#include "kernels/winograd_tiles.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kLine = 16;  // floats in a cache line
constexpr std::int64_t kNoOffset = 0;
constexpr std::int64_t kTasks = 4;                // to be had by cutting the sum over tiles, if blocks are fewer
constexpr std::int64_t kTransforms = 160 * 1024;  // floats of transformed tiles in the caches at the same time

/// How the work is cut: blocks of channels times output channels, and the tiles of each into parts, whose sums are
/// added up in order at the end.
struct Cut {
  std::int64_t c_blocks, c_size, k_blocks, k_size, parts, part_tiles;
  std::int64_t step;  // tiles transformed together

  std::int64_t blocks() const { return c_blocks * k_blocks; }
};

std::int64_t even_size(std::int64_t n, std::int64_t blocks) { return round_up(ceil_div(n, blocks), kLanes); }

Cut cut_work(const WinogradShape& s, std::int64_t tiles) {
  Cut cut{};
  const std::int64_t points = (s.tile + s.taps - 1) * (s.tile + s.taps - 1);
  const std::int64_t most_channels = s.taps == 5 ? 64 : 128;
  cut.c_size = even_size(s.channels, ceil_div(s.channels, most_channels));
  cut.k_size = even_size(s.out_channels, ceil_div(s.out_channels, most_channels));
  cut.c_blocks = ceil_div(s.channels, cut.c_size);
  cut.k_blocks = ceil_div(s.out_channels, cut.k_size);
  // Few, that their transforms stay in the second-level cache; enough, that the sums are read and written seldom.
  const std::int64_t kept = kTransforms / (points * (cut.c_size + cut.k_size));
  cut.step = larger(s.taps == 5 ? 32 : 48, smaller(kept, s.tile * 24));
  const std::int64_t most_parts = ceil_div(tiles, cut.step);
  cut.parts = smaller(most_parts, larger(1, kTasks / cut.blocks()));
  cut.part_tiles = ceil_div(tiles, cut.parts);
  cut.parts = ceil_div(tiles, cut.part_tiles);
  return cut;
}

template <class P>
class WeightGradient {
 public:
  WeightGradient(const WinogradShape& s, const float* x, const float* dy, float* dw)
      : shape_(s),
        x_(x),
        dy_(dy),
        dw_(dw),
        in_{s.height, s.width, s.channels, s.dilation_h, s.dilation_w},
        out_{s.out_height, s.out_width, s.out_channels, s.dilation_h, s.dilation_w},
        grid_(s.images, out_, P::kTile),
        cut_(cut_work(s, grid_.count())),
        panels_(cut_panels(cut_.k_size)) {}

  void run() const {
    const std::int64_t most = larger(shape_.channels, shape_.out_channels);
    const core::Scratch<float> zeros(static_cast<std::size_t>(most));
    std::memset(zeros.get(), 0, static_cast<std::size_t>(most) * sizeof(float));
    const float* const zero_pixel = zeros.get();
    if (cut_.parts == 1) {
      core::parallel_chunks(cut_.blocks(), [&](std::int64_t block) {
        const core::Scratch<float> sum(static_cast<std::size_t>(block_floats()));
        add_tiles(block, 0, zero_pixel, sum.get());
        finish(block, {0, channels(block).size()}, sum.get());
      });
      return;
    }
    const core::Scratch<float> sums(static_cast<std::size_t>(cut_.blocks() * cut_.parts * block_floats()));
    float* const all = sums.get();
    core::parallel_chunks(cut_.blocks() * cut_.parts, [&](std::int64_t task) {
      add_tiles(task / cut_.parts, task % cut_.parts, zero_pixel, all + task * block_floats());
    });
    for (std::int64_t block = 0; block < cut_.blocks(); ++block)
      core::parallel_for(channels(block).size(), 8, [&](std::int64_t begin, std::int64_t end) {
        finish(block, {begin, end}, all + block * cut_.parts * block_floats());
      });
  }

 private:
  static constexpr std::int64_t kPoints = P::kSide * P::kSide;

  std::int64_t point_floats() const { return cut_.c_size * cut_.k_size + kLine; }
  std::int64_t block_floats() const { return kPoints * point_floats(); }
  Range channels(std::int64_t block) const {
    const std::int64_t begin = block / cut_.k_blocks * cut_.c_size;
    return {begin, smaller(begin + cut_.c_size, shape_.channels)};
  }
  Range out_channels(std::int64_t block) const {
    const std::int64_t begin = block % cut_.k_blocks * cut_.k_size;
    return {begin, smaller(begin + cut_.k_size, shape_.out_channels)};
  }

  /// sum[point][c][k] over one part of the tiles.
  void add_tiles(std::int64_t block, std::int64_t part, const float* zeros, float* sum) const {
    const Packing v_packing(cut_.step, cut_.c_size), z_packing(cut_.step, cut_.k_size);
    const core::Scratch<float> v(v_packing.floats()), z(z_packing.floats());
    const Range c = channels(block), k = out_channels(block);
    const std::int64_t first = part * cut_.part_tiles, end = smaller(first + cut_.part_tiles, grid_.count());
    const std::int64_t steps = ceil_div(end - first, cut_.step), step = ceil_div(end - first, steps);
    for (std::int64_t begin = first; begin < end; begin += step) {
      const std::int64_t stop = smaller(begin + step, end);
      grid_.walk(begin, stop, shape_.pad_top, shape_.pad_left, [&](std::int64_t t, const Corner& corner) {
        spread_tile<typename P::Input>(x_, corner, in_, zeros, c.begin, c.end, v_packing.tile(v.get(), t));
      });
      grid_.walk(begin, stop, 0, 0, [&](std::int64_t t, const Corner& corner) {
        spread_tile<typename P::OutputAdjoint>(dy_, corner, out_, zeros, k.begin, k.end, z_packing.tile(z.get(), t));
      });
      for (std::int64_t i = 0; i < P::kSide; ++i)
        for (std::int64_t j = 0; j < P::kSide; ++j)
          multiply(v.get() + v_packing.point(i, j), v_packing.tile_stride, z.get() + z_packing.point(i, j),
                   z_packing.tile_stride, c.size(), stop - begin, begin > first,
                   sum + (i * P::kSide + j) * point_floats());
    }
  }

  /// Transformed tiles as [row of points][tile][point of the row][channel]: not all points apart, for their stores
  /// would miss the translation cache, and not all together, for the loads of the product would.
  struct Packing {
    Packing(std::int64_t tiles, std::int64_t channels) : width(channels) {
      tile_stride = round_up(P::kSide * channels, 2 * kLine) + kLine;  // an odd number of lines: all sets of the cache
      row_stride = tiles * tile_stride;
    }
    std::size_t floats() const { return static_cast<std::size_t>(P::kSide * row_stride); }
    std::int64_t point(std::int64_t i, std::int64_t j) const { return i * row_stride + j * width; }
    Spread tile(float* base, std::int64_t t) const { return {base + t * tile_stride, row_stride, width}; }

    std::int64_t width, tile_stride, row_stride;
  };

  /// sum (+)= Vᵀ Z; the sum of the next point is fetched meanwhile.
  void multiply(const float* v, std::int64_t v_stride, const float* z, std::int64_t z_stride, std::int64_t rows,
                std::int64_t tiles, bool accumulate, float* sum) const {
    const float *ahead = sum + point_floats(), *const end = ahead + point_floats();
    for (int s = 0; s < 2; ++s) {
      const int vectors = panels_.vectors[s];
      if (!panels_.count[s]) continue;
      const RowTiles cut = cut_rows(rows, max_tile_rows(vectors));
      for (std::int64_t panel = 0; panel < panels_.count[s]; ++panel) {
        std::int64_t row = 0;
        for (std::int64_t t = 0; t < cut.count; ++t) {
          const int height = cut.height + (t < cut.taller);
          const float* from[kTileRows];
          float* to[kTileRows];
          for (int i = 0; i < height; ++i, ++row) {
            from[i] = v + row;
            to[i] = sum + row * cut_.k_size;
          }
          const TileRuns runs{&kNoOffset, 1, tiles, v_stride, ahead < end ? ahead : nullptr};
          conv_tile_function(height, vectors, false)(from, runs, z, z_stride, {to, kLanes, nullptr, accumulate, false});
          ahead += tiles * kLine;
        }
        z += vectors * kLanes;
        sum += vectors * kLanes;
      }
    }
  }

  /// dw = Gᵀ (sum over the parts) G for some rows of a block.
  void finish(std::int64_t block, Range rows, const float* sums) const {
    const Range c = channels(block), k = out_channels(block);
    const std::int64_t K = shape_.out_channels, plane = shape_.channels * K;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      float* const to = dw_ + (c.begin + row) * K + k.begin;
      for_vectors(0, k.size(), [&](std::int64_t j, std::int64_t count) NV_INLINE_LAMBDA {
        const float* from = sums + row * cut_.k_size + j;
        transform_square<typename P::FilterAdjoint>(
            [&](int r, int q) NV_INLINE_LAMBDA {
              const float* of_point = from + (r * P::kSide + q) * point_floats();
              vf total = load(of_point);
              for (std::int64_t part = 1; part < cut_.parts; ++part) total += load(of_point + part * block_floats());
              return total;
            },
            [&](int r, int q, vf v) NV_INLINE_LAMBDA { store_some(to + (r * P::kTaps + q) * plane + j, v, count); });
      });
    }
  }

  const WinogradShape shape_;
  const float* x_;
  const float* dy_;
  float* dw_;
  Pixels in_, out_;
  TileGrid grid_;
  Cut cut_;
  Panels panels_;
};

}  // namespace

void winograd_backward_weight(const WinogradShape& s, const float* x, const float* dy, float* dw) {
  if (s.channels == 0 || s.out_channels == 0) return;
  if (s.images * s.out_height * s.out_width == 0) {
    std::memset(dw, 0, static_cast<std::size_t>(s.taps * s.taps * s.channels * s.out_channels) * sizeof(float));
    return;
  }
  with_points(s.tile, s.taps, [&]<class P>(P) { WeightGradient<P>(s, x, dy, dw).run(); });
}

}  // namespace nervure::kernels::NV_ISA
