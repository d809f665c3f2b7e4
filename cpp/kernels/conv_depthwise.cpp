// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_depthwise.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv_parts.h"
#include "kernels/conv_sweep.h"
#include "kernels/gemm_epilogue.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr int kPixels = 8;               // sums in registers: as many as hide the latency of a multiply-add
constexpr int kSums = 9;                 // taps of a weight gradient at a time: those of a 3x3 kernel
constexpr std::int64_t kWork = 200'000;  // multiply-adds to a chunk

struct Range {
  std::int64_t begin, end;
};

/// Taps that fall into [0, size) when the first one falls on `first`.
Range taps_inside(const Taps& taps, std::int64_t first, std::int64_t size) {
  std::int64_t begin = 0, end = taps.count;
  while (begin < end && first + taps.offset[begin] < 0) ++begin;
  while (end > begin && first + taps.offset[end - 1] >= size) --end;
  return {begin, end};
}

/// Places i of a grid, first + i * step, at which a tap `offset` behind falls into [0, size).
Range places_inside(std::int64_t first, std::int64_t step, std::int64_t offset, std::int64_t count, std::int64_t size) {
  const std::int64_t at = first + offset;
  const std::int64_t begin = at >= 0 ? 0 : smaller(ceil_div(-at, step), count);
  const std::int64_t end = at >= size ? begin : larger(begin, smaller(ceil_div(size - at, step), count));
  return {begin, end};
}

/// Taps that a tile sums: their pixels relative to the first pixel under it, and their weights.
struct TapList {
  std::int64_t* pixel;   // floats
  std::int64_t* weight;  // floats
  std::int64_t count;

  void fill(const Sweep& s, Range down, Range across, std::int64_t kernel_width) {
    count = 0;
    for (std::int64_t r = down.begin; r < down.end; ++r)
      for (std::int64_t c = across.begin; c < across.end; ++c) {
        pixel[count] = (s.down.offset[r] * s.width + s.across.offset[c]) * s.channels;
        weight[count++] = (s.down.number[r] * kernel_width + s.across.number[c]) * s.channels;
      }
  }
};

/// One tile: pixels x_step apart in the source and y_step apart in the target.
struct Tile {
  const float *x, *w, *bias;
  float* y;
  std::int64_t x_step, y_step, channels;
  bool relu;
  std::int64_t x_ahead, y_ahead;  // how far behind lies what the next row reads first and writes
};

template <int Pixels>
NV_INLINE void sum_vector(const Tile& t, const TapList& taps, std::int64_t c, std::int64_t count) {
  vf acc[Pixels];
  const vf start = t.bias ? load_some(t.bias + c, count) : vf{};
#pragma GCC unroll 8
  for (int i = 0; i < Pixels; ++i) {
    acc[i] = start;
    __builtin_prefetch(t.x + t.x_ahead + i * t.x_step + c, 0, 2);
    __builtin_prefetch(t.y + t.y_ahead + i * t.y_step + c, 0, 2);
  }
  for (std::int64_t tap = 0; tap < taps.count; ++tap) {
    const vf weight = load_some(t.w + taps.weight[tap] + c, count);
    const float* x = t.x + taps.pixel[tap] + c;
#pragma GCC unroll 8
    for (int i = 0; i < Pixels; ++i) acc[i] = fma(load_some(x + i * t.x_step, count), weight, acc[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < Pixels; ++i) store_some(t.y + i * t.y_step + c, t.relu ? relu(acc[i]) : acc[i], count);
}

template <int Pixels>
void sum_tile(const Tile& t, const TapList& taps) {
  for_vectors(0, t.channels,
              [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA { sum_vector<Pixels>(t, taps, c, count); });
}

/// A sweep of all channels over all images; pixel (i, j) of the grid goes to target + i * row_step + j * column_step.
struct Job {
  Sweep sweep;
  std::int64_t kernel_width;
  const float *source, *w, *bias;
  Activation activation;
  float* target;
  std::int64_t image_step, row_step, column_step;
};

/// Pixels [begin, end) of a row of the grid, all of which see the same taps.
void run_pixels(const Job& job, const TapList& taps, const float* x, float* y, std::int64_t begin, std::int64_t end) {
  const std::int64_t x_step = job.sweep.column_step * job.sweep.channels;
  Tile tile{x + begin * x_step,
            job.w,
            job.bias,
            y + begin * job.column_step,
            x_step,
            job.column_step,
            job.sweep.channels,
            job.activation == Activation::relu,
            (job.sweep.down.reach() + job.sweep.row_step) * job.sweep.width * job.sweep.channels,
            job.row_step};
  std::int64_t j = begin;
  const auto advance = [&](std::int64_t pixels) {
    j += pixels;
    tile.x += pixels * x_step;
    tile.y += pixels * job.column_step;
  };
  for (; j + kPixels <= end; advance(kPixels)) sum_tile<kPixels>(tile, taps);
  for (; j + 4 <= end; advance(4)) sum_tile<4>(tile, taps);
  for (; j < end; advance(1)) sum_tile<1>(tile, taps);
}

void run_row(const Job& job, std::int64_t n, std::int64_t i, TapList& taps) {
  const Sweep& s = job.sweep;
  const std::int64_t row = s.first_row + i * s.row_step;
  const Range down = taps_inside(s.down, row, s.height);
  const float* x = job.source + ((n * s.height + row) * s.width + s.first_column) * s.channels;
  float* const y = job.target + n * job.image_step + i * job.row_step;
  std::int64_t j = 0;
  while (j < s.columns) {
    const Range across = taps_inside(s.across, s.first_column + j * s.column_step, s.width);
    std::int64_t end = j + 1;
    if (across.begin == 0 && across.end == s.across.count)  // and so on, to where the last tap leaves the image
      end = larger(end, places_inside(s.first_column, s.column_step, s.across.reach(), s.columns, s.width).end);
    taps.fill(s, down, across, job.kernel_width);
    run_pixels(job, taps, x, y, j, end);
    j = end;
  }
  if (job.activation == Activation::none || job.activation == Activation::relu) return;
  for (j = 0; j < s.columns; ++j) activate_rows(job.activation, 1, s.channels, y + j * job.column_step, 0);
}

/// Sweeps that share their source: of them, job (i, j) fills pixels i, i + down, ... by j, j + across, ... of images
/// of so many rows. Row by row, so that memory is written in order. Only the jobs (i, 0) and (0, j) are kept, for a
/// stride may be as large as the image.
struct Jobs {
  const Job *of_row, *of_column;
  std::int64_t down, across, rows;

  Job job(std::int64_t i, std::int64_t j) const {
    Job joined = of_row[i];
    const Job& other = of_column[j];
    joined.sweep.columns = other.sweep.columns;
    joined.sweep.first_column = other.sweep.first_column;
    joined.sweep.across = other.sweep.across;
    joined.target += other.target - of_column->target;
    return joined;
  }
};

void run_jobs(const Jobs& all, std::int64_t images, std::int64_t taps) {
  std::int64_t columns = 0;
  for (std::int64_t j = 0; j < all.across; ++j) columns += all.of_column[j].sweep.columns;
  const std::int64_t channels = all.of_row->sweep.channels;
  const std::int64_t work = larger(columns * channels * larger(taps / (all.down * all.across), 1), 1);
  core::parallel_for(images * all.rows, larger(kWork / work, 1), [&](std::int64_t begin, std::int64_t end) {
    const core::Scratch<std::int64_t> memory(static_cast<std::size_t>(2 * taps));
    TapList list{memory.get(), memory.get() + taps, 0};
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t n = row / all.rows, i = row % all.rows;
      for (std::int64_t j = 0; j < all.across; ++j) run_row(all.job(i % all.down, j), n, i / all.down, list);
    }
  });
}

// ---- weights ------------------------------------------------------------------------------------------------------

/// A tap of the weight gradient in one row of pixels.
struct RowTap {
  const float* x;  // under the first pixel of the row
  float* sum;
  Range valid;  // pixels at which it lies inside the image
};

struct Row {
  const float* dy;
  std::int64_t x_step, channels;
  std::int64_t x_ahead, dy_ahead;  // to the next row
};

/// sum += Σ x dy over pixels [begin, end), for `Taps` taps and one vector of channels.
template <int Count>
NV_INLINE void add_vector(const Row& row, const RowTap* taps, std::int64_t begin, std::int64_t end, std::int64_t c,
                          std::int64_t count) {
  vf acc[Count];
  const float* x[Count];
#pragma GCC unroll 9
  for (int i = 0; i < Count; ++i) {
    acc[i] = load_some(taps[i].sum + c, count);
    x[i] = taps[i].x + c;
  }
  const float* dy = row.dy + begin * row.channels + c;
  std::int64_t at = begin * row.x_step;
  for (std::int64_t j = begin; j < end; ++j, dy += row.channels, at += row.x_step) {
    const vf d = load_some(dy, count);
    if constexpr (Count == kSums) {
      __builtin_prefetch(dy + row.dy_ahead, 0, 2);
      __builtin_prefetch(x[Count - 1] + at + row.x_ahead, 0, 2);
    }
#pragma GCC unroll 9
    for (int i = 0; i < Count; ++i) acc[i] = fma(load_some(x[i] + at, count), d, acc[i]);
  }
#pragma GCC unroll 9
  for (int i = 0; i < Count; ++i) store_some(taps[i].sum + c, acc[i], count);
}

template <int Count>
void add_taps(const Row& row, const RowTap* taps, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  for_vectors(0, row.channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    add_vector<Count>(row, taps, begin, end, c, count);
  });
}

/// Pixels that all taps of a group can use together; then what single taps can use beyond.
template <int Count>
void add_group(const Row& row, const RowTap* taps) {
  Range all = taps[0].valid;
  for (int i = 1; i < Count; ++i) all = {larger(all.begin, taps[i].valid.begin), smaller(all.end, taps[i].valid.end)};
  all.end = larger(all.begin, all.end);
  add_taps<Count>(row, taps, all.begin, all.end);
  for (int i = 0; i < Count; ++i) {
    add_taps<1>(row, taps + i, taps[i].valid.begin, smaller(all.begin, taps[i].valid.end));
    add_taps<1>(row, taps + i, larger(all.end, taps[i].valid.begin), taps[i].valid.end);
  }
}

void add_row(const Conv& v, const Sweep& s, const float* x, const float* dy, std::int64_t n, std::int64_t p, float* sum,
             RowTap* taps) {
  const std::int64_t row = s.first_row + p * s.row_step;
  const Range down = taps_inside(s.down, row, s.height);
  std::int64_t count = 0;
  for (std::int64_t r = down.begin; r < down.end; ++r)
    for (std::int64_t c = 0; c < s.across.count; ++c) {
      const std::int64_t h = n * s.height + row + s.down.offset[r], w = s.first_column + s.across.offset[c];
      taps[count++] = {x + (h * s.width + w) * v.C, sum + (r * v.S + c) * v.C,
                       places_inside(s.first_column, s.column_step, s.across.offset[c], v.Q, s.width)};
    }
  const Row source{dy + (n * v.P + p) * v.Q * v.C, s.column_step * v.C, v.C, s.row_step * s.width * v.C, v.Q * v.C};
  std::int64_t i = 0;
  for (; i + kSums <= count; i += kSums) add_group<kSums>(source, taps + i);
  for (; i + 3 <= count; i += 3) add_group<3>(source, taps + i);
  for (; i < count; ++i) add_group<1>(source, taps + i);
}

}  // namespace

void depthwise_forward(const Conv& v, const float* x, const float* w, const float* bias, Activation activation,
                       float* y) {
  const core::Scratch<std::int64_t> taps(static_cast<std::size_t>(2 * (v.R + v.S)));
  const Job job{forward_sweep(v, taps.get()), v.S, x, w, bias, activation, y, v.P * v.Q * v.K, v.Q * v.K, v.K};
  run_jobs({&job, &job, 1, 1, v.P}, v.N, v.R * v.S);
}

void depthwise_backward_data(const Conv& v, const float* dy, const float* w, const float* bias, Activation activation,
                             float* dx) {
  const std::int64_t down = smaller(v.stride_h, v.H), across = smaller(v.stride_w, v.W), of_job = 2 * (v.R + v.S);
  const core::Scratch<std::int64_t> taps(static_cast<std::size_t>((down + across) * of_job));
  const core::Scratch<Job> jobs(static_cast<std::size_t>(down + across));
  const auto prepare = [&](std::int64_t k, std::int64_t i, std::int64_t j) {
    jobs.get()[k] = {data_sweep(v, i, j, taps.get() + k * of_job),
                     v.S,
                     dy,
                     w,
                     bias,
                     activation,
                     dx + (i * v.W + j) * v.C,
                     v.H * v.W * v.C,
                     v.stride_h * v.W * v.C,
                     v.stride_w * v.C};
  };
  for (std::int64_t i = 0; i < down; ++i) prepare(i, i, 0);
  for (std::int64_t j = 0; j < across; ++j) prepare(down + j, 0, j);
  run_jobs({jobs.get(), jobs.get() + down, down, across, v.H}, v.N, v.R * v.S);
}

void depthwise_backward_weight(const Conv& v, const float* x, const float* dy, float* dw) {
  const core::Scratch<std::int64_t> memory(static_cast<std::size_t>(2 * (v.R + v.S)));
  const Sweep sweep = forward_sweep(v, memory.get());
  const std::int64_t size = v.R * v.S * v.C;
  sum_parts(v.N * v.P, size, 1, dw, [&](const Part& part) {
    const core::Scratch<RowTap> taps(static_cast<std::size_t>(v.R * v.S));
    std::memset(part.sum, 0, static_cast<std::size_t>(size) * sizeof(float));
    for (std::int64_t row = part.begin; row < part.end; ++row)
      add_row(v, sweep, x, dy, row / v.P, row % v.P, part.sum, taps.get());
  });
}

}  // namespace nervure::kernels::NV_ISA
