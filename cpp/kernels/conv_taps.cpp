// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_taps.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv_parts.h"
#include "kernels/conv_tile.h"
#include "kernels/gemm.h"
#include "kernels/gemm_block.h"
#include "kernels/gemm_pack.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kDepth = 128;      // of weights under one panel, which stays in the first-level cache
constexpr std::int64_t kPackedTiles = 3;  // under one panel that pay for copying it

/// The pixels of x and y that meet in one tap, numbered through all images.
struct Pairs {
  std::int64_t *x, *y;
  std::int64_t count;

  void find(const Conv& v, std::int64_t r, std::int64_t s) {
    count = 0;
    for (std::int64_t row = 0; row < v.N * v.P; ++row) {
      const std::int64_t n = row / v.P, h = row % v.P * v.stride_h - v.pad_top + r * v.dilation_h;
      if (h < 0 || h >= v.H) continue;
      for (std::int64_t q = 0; q < v.Q; ++q) {
        const std::int64_t i = q * v.stride_w - v.pad_left + s * v.dilation_w;
        if (i < 0 || i >= v.W) continue;
        x[count] = (n * v.H + h) * v.W + i;
        y[count++] = row * v.Q + q;
      }
    }
  }
};

/// Memory that the tiles fetch into the cache as they go, line after line.
struct Ahead {
  const float *next, *end;
  const float* take(std::int64_t lines) {
    const float* const from = next < end ? next : nullptr;
    next += lines * 16;
    return from;
  }
};

/// target[pixels, columns] += source[pixels, depth] B for the pairs of pixels of a tap; B = w[depth, columns], or its
/// transpose.
class Product {
 public:
  Product(const Conv& v, bool transposed, const float* source, const float* w)
      : v_(v),
        transposed_(transposed),
        depth_(transposed ? v.K : v.C),
        columns_(transposed ? v.C : v.K),
        blocks_(ceil_div(depth_, kDepth)),
        panels_(cut_panels(columns_)),
        source_(source),
        w_(w) {}

  void run(float* target) const {
    const std::int64_t size = v_.N * (transposed_ ? v_.H * v_.W : v_.P * v_.Q) * columns_;
    sum_parts(v_.R * v_.S * blocks_, size, 1, target, [&](const Part& part) { add_part(part, size); });
  }

 private:
  void add_part(const Part& part, std::int64_t size) const {
    const core::Scratch<std::int64_t> numbers(static_cast<std::size_t>(2 * v_.N * v_.P * v_.Q));
    const core::Scratch<float> packed(static_cast<std::size_t>(kDepth * kTileVectors * kLanes));
    Pairs pairs{numbers.get(), numbers.get() + v_.N * v_.P * v_.Q, 0};
    std::memset(part.sum, 0, static_cast<std::size_t>(size) * sizeof(float));
    std::int64_t found = -1;
    for (std::int64_t unit = part.begin; unit < part.end; ++unit) {
      const std::int64_t tap = unit / blocks_, block = unit % blocks_;
      if (tap != found) pairs.find(v_, tap / v_.S, tap % v_.S);
      found = tap;
      if (pairs.count == 0) continue;
      Ahead ahead = after(unit);
      add_block(pairs, w_ + tap * v_.C * v_.K, {block * depth_ / blocks_, (block + 1) * depth_ / blocks_}, ahead,
                packed.get(), part.sum);
    }
  }

  /// The weights of the next unit; the units of a tap share its weights line by line where these are transposed.
  Ahead after(std::int64_t unit) const {
    const std::int64_t first = unit + (transposed_ ? blocks_ : 1), all = v_.R * v_.S * blocks_;
    return {w_ + first * v_.C * v_.K / blocks_, w_ + smaller(first + 1, all) * v_.C * v_.K / blocks_};
  }

  void add_block(const Pairs& pairs, const float* w, Range depth, Ahead& ahead, float* packed, float* sum) const {
    std::int64_t column = 0;
    for (int s = 0; s < 2; ++s)
      for (std::int64_t panel = 0; panel < panels_.count[s]; ++panel) {
        const int vectors = panels_.vectors[s];
        const std::int64_t width = static_cast<std::int64_t>(vectors) * kLanes;
        const std::int64_t columns = smaller(width, columns_ - column);
        const RowTiles tiles = cut_rows(pairs.count, max_tile_rows(vectors));
        const float* b = transposed_ ? w + column * v_.K + depth.begin : w + depth.begin * v_.K + column;
        std::int64_t stride = v_.K;
        if (transposed_ || tiles.count >= kPackedTiles) {
          pack_b(b, v_.K, transposed_, depth.size(), columns, vectors, packed, depth.size());
          b = packed;
          stride = width;
        }
        add_panel(pairs, tiles, depth, ahead, b, stride, vectors, {column, column + columns}, sum);
        column += width;
      }
  }

  void add_panel(const Pairs& pairs, const RowTiles& tiles, Range depth, Ahead& ahead, const float* b,
                 std::int64_t stride, int vectors, Range columns, float* sum) const {
    const std::int64_t offset = 0, width = static_cast<std::int64_t>(vectors) * kLanes;
    const std::int64_t *from_pixel = transposed_ ? pairs.y : pairs.x, *to_pixel = transposed_ ? pairs.x : pairs.y;
    const float* from[kTileRows];
    float* to[kTileRows];
    const ConvTileOutput out{to, columns.size() - width + kLanes, nullptr, true, false};
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const int height = tiles.height + (t < tiles.taller);
      for (int i = 0; i < height; ++i) {
        from[i] = source_ + *from_pixel++ * depth_ + depth.begin;
        to[i] = sum + *to_pixel++ * columns_ + columns.begin;
      }
      const TileRuns runs{&offset, 1, depth.size(), 1, ahead.take(depth.size())};
      conv_tile_function(height, vectors, columns.size() < width)(from, runs, b, stride, out);
    }
  }

  const Conv& v_;
  bool transposed_;
  std::int64_t depth_, columns_, blocks_;
  Panels panels_;
  const float *source_, *w_;
};

/// The rows of these numbers, one after the other.
void gather(const float* from, const std::int64_t* numbers, std::int64_t count, std::int64_t width, float* to) {
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(to + i * width, from + numbers[i] * width, static_cast<std::size_t>(width) * sizeof(float));
}

}  // namespace

void taps_forward(const Conv& v, const float* x, const float* w, float* y) { Product(v, false, x, w).run(y); }

void taps_backward_data(const Conv& v, const float* dy, const float* w, float* dx) { Product(v, true, dy, w).run(dx); }

void taps_backward_weight(const Conv& v, const float* x, const float* dy, float* dw) {
  const std::int64_t pixels = v.N * v.P * v.Q;
  core::parallel_chunks(v.R * v.S, [&](std::int64_t tap) {
    const core::Scratch<std::int64_t> numbers(static_cast<std::size_t>(2 * pixels + 1));
    const core::Scratch<float> seen(static_cast<std::size_t>(pixels * (v.C + v.K) + 1));
    Pairs pairs{numbers.get(), numbers.get() + pixels, 0};
    pairs.find(v, tap / v.S, tap % v.S);
    float* const dy_seen = seen.get() + pairs.count * v.C;
    gather(x, pairs.x, pairs.count, v.C, seen.get());
    gather(dy, pairs.y, pairs.count, v.K, dy_seen);
    gemm(Gemm{v.C, v.K, pairs.count, seen.get(), v.C, true, dy_seen, v.K, false, dw + tap * v.C * v.K, v.K});
  });
}

}  // namespace nervure::kernels::NV_ISA
