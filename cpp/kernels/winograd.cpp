// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/winograd.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv_tile.h"
#include "kernels/winograd_filter.h"
#include "kernels/winograd_tiles.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kLine = 16;  // floats in a cache line

/// One convolution as a run over tiles: forward, or the gradient of the data with weights turned and exchanged.
struct Run {
  Pixels in, out;
  std::int64_t images, pad_top, pad_left;
  const float* x;
  const float* u;  // winograd_filter
  Panels panels;
  const float* bias;
  bool relu;
  float* y;
};

/// Tiles in one task: many where it reads more weights than stay in the second-level cache, few where its own
/// transforms should stay in lower ones. Whole row tiles, if there are many tasks.
std::int64_t tiles_per_task(const Run& run, std::int64_t tiles, std::int64_t points) {
  constexpr std::int64_t kFewest = 12, kMost = 48, kWeights = 12 * 1024;  // weights read for each tile
  constexpr std::int64_t kTransforms = 64 * 1024;                         // floats of a task that stay close
  const std::int64_t wanted = larger(points * run.in.channels * run.out.channels / kWeights,
                                     smaller(kTransforms / (points * (run.in.channels + run.out.channels)), 36));
  const std::int64_t size = larger(kFewest, smaller(wanted, kMost)), tasks = ceil_div(tiles, size);
  if (tasks == 1 && tiles <= 2 * kFewest) return tiles;
  const std::int64_t even = ceil_div(tiles, round_up(tasks, tasks < 4 ? 2 : 4));  // for 2 and 4 threads
  return tasks < 16 ? even : round_up(size, max_tile_rows(run.panels.vectors[run.panels.count[0] == 0]));
}

/// C[rows, vectors * kLanes] = A B for a B that stays in the first-level cache once the first tile has read it.
void multiply_resident(const float* a, std::int64_t a_stride, const float* b, std::int64_t rows, int vectors,
                       std::int64_t depth, float* c, std::int64_t c_stride) {
  const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
  const RowTiles tiles = cut_rows(rows, max_tile_rows(vectors));
  TileOutput out{c, c_stride, kLanes, nullptr, nullptr, false, false};
  for (std::int64_t t = 0; t < tiles.count; t += out.steps.count) {
    const int height = tiles.height + (t < tiles.taller);
    const TileFunction tile =
        t == 0 ? tile_function(TileA::rows, height, vectors, false) : resident_tile(TileA::rows, height, vectors);
    const std::int64_t alike = (t < tiles.taller ? tiles.taller : tiles.count) - t;
    out.steps = {t == 0 ? 1 : alike, height * a_stride, 0, height * c_stride, 0, 0};
    tile(a, a_stride, b, width, depth, out);
    a += out.steps.count * out.steps.a;
    out.c += out.steps.count * out.steps.c;
  }
}

/// C[rows, vectors * kLanes] = A B; what follows B in memory is fetched meanwhile.
void multiply_far(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_next, std::int64_t rows,
                  int vectors, std::int64_t depth, float* c, std::int64_t c_stride) {
  const std::int64_t offset = 0, width = static_cast<std::int64_t>(vectors) * kLanes;
  const RowTiles tiles = cut_rows(rows, max_tile_rows(vectors));
  const float* from[kTileRows];
  float* to[kTileRows];
  for (std::int64_t t = 0; t < tiles.count; ++t) {
    const int height = tiles.height + (t < tiles.taller);
    for (int i = 0; i < height; ++i, a += a_stride, c += c_stride) {
      from[i] = a;
      to[i] = c;
    }
    conv_tile_function(height, vectors, false)(from, {&offset, 1, depth, 1, b + b_next + t * depth * kLine}, b, width,
                                               {to, kLanes, nullptr, false, false});
  }
}

/// Channels [begin, end) of one tile from the products at m, point (i, j) at (i * kSide + j) * point_stride; kInner:
/// all of its pixels lie in the output.
template <class P, bool kInner>
__attribute__((noinline)) void put_tile(const Run& run, const float* m, std::int64_t point_stride, const Corner& corner,
                                        std::int64_t begin, std::int64_t end) {
  const std::int64_t K = run.out.channels, row_stride = run.out.width * K;
  const std::int64_t rows = run.out.height - corner.row, columns = run.out.width - corner.column;
  float* const to = run.y + ((corner.image * run.out.height + corner.row) * run.out.width + corner.column) * K;
  const vf least = broadcast(run.relu ? 0.0f : -kInfinity);
  for_vectors(begin, end, [&](std::int64_t k, std::int64_t count) NV_INLINE_LAMBDA {
    const vf bias = run.bias ? load_some(run.bias + k, count) : vf{};
    transform_square<typename P::Output>(
        [&](int i, int j) NV_INLINE_LAMBDA { return load(m + (i * P::kSide + j) * point_stride + k - begin); },
        [&](int i, int j, vf v) NV_INLINE_LAMBDA {
          if (!kInner && (i >= rows || j >= columns)) return;
          // in this order a NaN stays
          store_some(to + i * row_stride + j * K + k, max(least, v + bias), count);
        });
  });
}

template <class P>
class TileTask {
 public:
  TileTask(const Run& run, const TileGrid& grid, std::int64_t begin, std::int64_t end, const float* zeros)
      : run_(run), grid_(grid), begin_(begin), end_(end), tiles_(end - begin), zeros_(zeros) {
    depth_ = run.in.channels;
    v_point_ = round_up(depth_, kLanes);
  }

  static constexpr std::int64_t kPoints = P::kSide * P::kSide;

  void operator()() const {
    const int widest = run_.panels.count[1] ? larger_of(run_.panels.vectors) : run_.panels.vectors[0];
    const core::Scratch<float> v(static_cast<std::size_t>(tiles_ * kPoints * v_point_));
    const core::Scratch<float> m(static_cast<std::size_t>(tiles_ * kPoints * widest * kLanes));
    grid_.walk(begin_, end_, run_.pad_top, run_.pad_left, [&](std::int64_t t, const Corner& corner) {
      spread_tile<typename P::Input>(run_.x, corner, run_.in, zeros_, 0, depth_,
                                     {v.get() + t * kPoints * v_point_, P::kSide * v_point_, v_point_});
    });
    const float* u = run_.u;
    std::int64_t column = 0;
    for (int s = 0; s < 2; ++s)
      for (std::int64_t panel = 0; panel < run_.panels.count[s]; ++panel) {
        const int vectors = run_.panels.vectors[s];
        const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
        const std::int64_t u_point = winograd_point_stride(depth_, width);
        for (std::int64_t p = 0; p < kPoints; ++p)
          multiply(v.get() + p * v_point_, u + p * u_point, u_point, vectors, m.get() + p * width);
        put_panel(m.get(), column, width);
        u += kPoints * u_point;
        column += width;
      }
  }

 private:
  int larger_of(const int (&vectors)[2]) const { return vectors[0] > vectors[1] ? vectors[0] : vectors[1]; }

  void multiply(const float* v, const float* u, std::int64_t u_next, int vectors, float* m) const {
    // Floats of the weights for one point, which stay in the first-level cache, and of all, in the second.
    constexpr std::int64_t kResident = 6400, kNear = 96 * 1024;
    const std::int64_t v_stride = kPoints * v_point_, m_stride = kPoints * vectors * kLanes;
    if (u_next <= kResident && kPoints * depth_ * run_.out.channels <= kNear)
      multiply_resident(v, v_stride, u, tiles_, vectors, depth_, m, m_stride);
    else
      multiply_far(v, v_stride, u, u_next, tiles_, vectors, depth_, m, m_stride);
  }

  void put_panel(const float* m, std::int64_t column, std::int64_t width) const {
    const std::int64_t end = smaller(column + width, run_.out.channels);
    grid_.walk(begin_, end_, 0, 0, [&](std::int64_t t, const Corner& corner) {
      const bool inner = corner.row + P::kTile <= run_.out.height && corner.column + P::kTile <= run_.out.width;
      const auto put = inner ? put_tile<P, true> : put_tile<P, false>;
      put(run_, m + t * kPoints * width, width, corner, column, end);
    });
  }

  const Run& run_;
  const TileGrid& grid_;
  std::int64_t begin_, end_, tiles_, depth_, v_point_;
  const float* zeros_;
};

template <class P>
void run_tiles(const Run& run) {
  const TileGrid grid(run.images, run.out.height, run.out.width, P::kTile);
  const core::Scratch<float> zeros(static_cast<std::size_t>(run.in.channels));
  std::memset(zeros.get(), 0, static_cast<std::size_t>(run.in.channels) * sizeof(float));
  const float* const zero_pixel = zeros.get();
  core::parallel_for(grid.count(), tiles_per_task(run, grid.count(), P::kSide * P::kSide),
                     [&](std::int64_t begin, std::int64_t end) { TileTask<P>(run, grid, begin, end, zero_pixel)(); });
}

void convolve(Run run, const WinogradFilter& filter, const float* w) {
  if (run.images * run.out.height * run.out.width * run.out.channels == 0) return;
  const Panels panels = cut_panels(filter.columns());
  const core::Scratch<float> u(static_cast<std::size_t>(winograd_filter_size(filter, panels)));
  run.panels = panels;
  run.u = u.get();
  winograd_filter(filter, run.panels, w, u.get());
  if (filter.tile == 2)
    run_tiles<Points<2>>(run);
  else
    run_tiles<Points<4>>(run);
}

}  // namespace

void winograd_forward(const WinogradShape& s, const float* x, const float* w, const float* bias, bool relu, float* y) {
  const Run run{{s.height, s.width, s.channels},
                {s.out_height, s.out_width, s.out_channels},
                s.images,
                s.pad_top,
                s.pad_left,
                x,
                nullptr,
                {},
                bias,
                relu,
                y};
  convolve(run, {s.channels, s.out_channels, false, s.tile}, w);
}

void winograd_backward_data(const WinogradShape& s, const float* dy, const float* w, float* dx) {
  const Run run{{s.out_height, s.out_width, s.out_channels},
                {s.height, s.width, s.channels},
                s.images,
                2 - s.pad_top,
                2 - s.pad_left,
                dy,
                nullptr,
                {},
                nullptr,
                false,
                dx};
  convolve(run, {s.channels, s.out_channels, true, s.tile}, w);
}

}  // namespace nervure::kernels::NV_ISA
