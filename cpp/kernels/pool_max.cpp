// SPDX-License-Identifier: BSD-3-Clause

#include "core/scratch.h"
#include "kernels/bytes.h"
#include "kernels/pool_window.h"

namespace nervure::kernels::NV_ISA {
namespace {

NV_INLINE void store_places(std::uint8_t* p, vi v, std::int64_t count) { store_bytes(p, v, count); }
NV_INLINE void store_places(std::int32_t* p, vi v, std::int64_t count) {
  store_some(reinterpret_cast<float*>(p), (vf)v, count);
}
NV_INLINE vi load_places(const std::uint8_t* p, std::int64_t count) { return load_bytes(p, count); }
NV_INLINE vi load_places(const std::int32_t* p, std::int64_t count) {
  return (vi)load_some(reinterpret_cast<const float*>(p), count);
}

/// No place at all: what Place is when places are not wanted.
struct NoPlace {};
NV_INLINE void store_places(NoPlace*, vi, std::int64_t) {}

template <class Place>
constexpr bool kWanted = true;
template <>
constexpr bool kWanted<NoPlace> = false;

/// One window: the place of tap (0, 0), and the distances between taps.
struct MaxWindow {
  const float* x;
  std::int64_t row_step, column_step, row_first, row_last, column_first, column_last, width;
  std::int64_t ahead;  // to the windows of the next row
};

/// `count` channels from channel c on.
template <class Place>
NV_INLINE void max_of_window(const MaxWindow& w, std::int64_t c, std::int64_t count, float* y, Place* place) {
  const auto tap = [&](std::int64_t row, std::int64_t column) NV_INLINE_LAMBDA {
    const float* const from = w.x + row * w.row_step + column * w.column_step + c;
    __builtin_prefetch(from + w.ahead, 0, 2);
    return load_some(from, count);
  };
  vf best = tap(w.row_first, w.column_first);
  vi where = broadcast(static_cast<std::int32_t>(w.row_first * w.width + w.column_first));
  for (std::int64_t row = w.row_first; row < w.row_last; ++row)
    for (std::int64_t column = w.column_first; column < w.column_last; ++column) {
      const vf v = tap(row, column);
      if (kWanted<Place>) {
        const vi greater = (v > best) | is_nan(v);
        best = select(greater, v, best);
        where = greater ? broadcast(static_cast<std::int32_t>(row * w.width + column)) : where;
      } else {
        best = select(is_nan(v), v, max(v, best));
      }
    }
  store_some(y + c, best, count);
  if (kWanted<Place>) store_places(place + c, where, count);
}

/// A window of kKernel x kKernel taps, all of them inside.
template <int kKernel, class Place>
NV_INLINE void max_of_square(MaxWindow w, std::int64_t channels, float* y, Place* place) {
  w.row_first = w.column_first = 0;
  w.row_last = w.column_last = w.width = kKernel;
  for_vectors(0, channels,
              [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA { max_of_window(w, c, count, y, place); });
}

template <class Place>
void no_taps(std::int64_t channels, float* y, Place* place) {
  for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    store_some(y + c, broadcast(-kInfinity), count);
    if (kWanted<Place>) store_places(place + c, vi{}, count);
  });
}

template <class Place>
void max_row(const Pool& pool, const float* image, std::int64_t row, float* y, Place* place) {
  const std::int64_t channels = pool.channels;
  const Taps h = taps_of(pool.height, row);
  const bool square = pool.height.kernel == pool.width.kernel && h.count() == pool.height.kernel;
  for (std::int64_t o = 0; o < pool.width.out; ++o) {
    const Taps w = taps_of(pool.width, o);
    const MaxWindow window{image + (h.start * pool.width.in + w.start) * channels,
                           h.dilation * pool.width.in * channels,
                           w.dilation * channels,
                           h.first,
                           h.last,
                           w.first,
                           w.last,
                           pool.width.kernel,
                           pool.height.stride * pool.width.in * channels};
    if (square && pool.width.kernel == 2 && w.count() == 2) {
      max_of_square<2>(window, channels, y, place);
    } else if (square && pool.width.kernel == 3 && w.count() == 3) {
      max_of_square<3>(window, channels, y, place);
    } else if (h.count() > 0 && w.count() > 0) {
      for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
        max_of_window(window, c, count, y, place);
      });
    } else {
      no_taps(channels, y, place);
    }
    y += channels;
    if (kWanted<Place>) place += channels;
  }
}

template <class Place>
void max_rows(const Pool& pool, const float* x, float* y, Place* places) {
  const std::int64_t in_size = pool.height.in * pool.width.in * pool.channels,
                     row_size = pool.width.out * pool.channels;
  for_image_rows(pool.images, pool.height.out, row_size, [&](std::int64_t image, std::int64_t row) {
    const std::int64_t at = (image * pool.height.out + row) * row_size;
    max_row(pool, x + image * in_size, row, y + at, kWanted<Place> ? places + at : nullptr);
  });
}

// ---- backward ------------------------------------------------------------------------------------------------------

/// One window: `dx` is the place of tap (0, 0). With constant taps the loops unroll.
template <class Place>
NV_INLINE void give_back_window(const float* dy, const Place* place, std::int64_t channels, const Taps& h,
                                const Taps& w, std::int64_t width, std::int64_t row_size, float* dx) {
  for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
    const vf d = load_some(dy + c, count);
    const vi where = load_places(place + c, count);
    for (std::int64_t i = h.first; i < h.last; ++i)  // what the next row of windows writes
      for (std::int64_t j = w.first; j < w.last; ++j)
        __builtin_prefetch(dx + (h.last + i) * row_size + j * channels + c, 0, 2);
    for (std::int64_t i = h.first; i < h.last; ++i)
      for (std::int64_t j = w.first; j < w.last; ++j) {
        const vi here = where == static_cast<std::int32_t>(i * width + j);
        store_some(dx + i * row_size + j * channels + c, select(here, d, vf{}), count);
      }
  });
}

/// Windows that lie side by side: each writes its own part of dx, without anybody adding to it.
template <class Place>
void give_back_row(const Pool& pool, const float* dy, const Place* places, std::int64_t row, float* image) {
  const std::int64_t channels = pool.channels, row_size = pool.width.in * channels;
  const Taps h = taps_of(pool.height, row);
  for (std::int64_t o = 0; o < pool.width.out; ++o) {
    const Taps w = taps_of(pool.width, o);
    float* const dx = image + h.start * row_size + w.start * channels;
    const std::int64_t at = o * channels;
    if (pool.width.kernel == 2 && w.count() == 2 && h.first == 0 && h.count() == 2)
      give_back_window(dy + at, places + at, channels, kPair, kPair, 2, row_size, dx);
    else
      give_back_window(dy + at, places + at, channels, h, w, pool.width.kernel, row_size, dx);
  }
  const std::int64_t covered = tiled_end(pool.width), last = row + 1 == pool.height.out ? pool.height.in : 0;
  for (std::int64_t i = h.start + h.first; i < h.start + h.last; ++i)
    zero_fill(image + i * row_size + covered * channels, (pool.width.in - covered) * channels);
  zero_fill(image + (h.start + h.last) * row_size, (last - h.start - h.last) * row_size);
}

/// A window that holds an input: where its output begins, and which place in it the input has.
struct Holder {
  std::int64_t at;
  std::int32_t place;
};

/// The windows that hold input (row, column); how many.
std::int64_t list_holders(const Pool& pool, const Holders& rows, std::int64_t row, std::int64_t column, Holder* list) {
  const Holders columns = holders_of(pool.width, column);
  std::int64_t n = 0;
  for (std::int64_t i = rows.first; i < rows.last; ++i) {
    const std::int64_t row_tap = tap_at(pool.height, i, row);
    if (row_tap < 0) continue;
    for (std::int64_t j = columns.first; j < columns.last; ++j) {
      const std::int64_t column_tap = tap_at(pool.width, j, column);
      if (column_tap < 0) continue;
      list[n++] = {(i * pool.width.out + j) * pool.channels,
                   static_cast<std::int32_t>(row_tap * pool.width.kernel + column_tap)};
    }
  }
  return n;
}

/// Any windows: each element of dx asks all that hold it.
template <class Place>
void gather_row(const Pool& pool, const float* dy, const Place* places, std::int64_t row, float* dx) {
  const std::int64_t channels = pool.channels;
  const Holders rows = holders_of(pool.height, row);
  const std::int64_t most = larger(rows.last - rows.first, 0) * pool.width.out;
  const core::Scratch<Holder> scratch(static_cast<std::size_t>(most + 1));
  Holder* const list = scratch.get();
  for (std::int64_t column = 0; column < pool.width.in; ++column) {
    const std::int64_t n = list_holders(pool, rows, row, column, list);
    for_vectors(0, channels, [&](std::int64_t c, std::int64_t count) NV_INLINE_LAMBDA {
      vf sum{};
      for (std::int64_t t = 0; t < n; ++t) {
        const vi here = load_places(places + list[t].at + c, count) == list[t].place;
        sum += select(here, load_some(dy + list[t].at + c, count), vf{});
      }
      store_some(dx + column * channels + c, sum, count);
    });
  }
}

template <class Place>
void backward_rows(const Pool& pool, const float* dy, const Place* places, float* dx) {
  const std::int64_t row_in = pool.width.in * pool.channels, row_out = pool.width.out * pool.channels;
  const std::int64_t size_in = pool.height.in * row_in, size_out = pool.height.out * row_out;
  if (tiles(pool.height) && tiles(pool.width)) {
    const std::int64_t band = row_in * pool.height.kernel;
    for_image_rows(pool.images, pool.height.out, band, [&](std::int64_t image, std::int64_t row) {
      const std::int64_t at = image * size_out + row * row_out;
      give_back_row(pool, dy + at, places + at, row, dx + image * size_in);
    });
    return;
  }
  for_image_rows(pool.images, pool.height.in, row_in, [&](std::int64_t image, std::int64_t row) {
    const std::int64_t at = image * size_out;
    gather_row(pool, dy + at, places + at, row, dx + image * size_in + row * row_in);
  });
}

template <class Place>
void index_row(const Pool& pool, const Place* places, std::int64_t row, std::int64_t* indices) {
  const Taps h = taps_of(pool.height, row);
  for (std::int64_t o = 0; o < pool.width.out; ++o) {
    const Taps w = taps_of(pool.width, o);
    for (std::int64_t c = 0; c < pool.channels; ++c) {
      const std::int64_t place = places[o * pool.channels + c];
      const std::int64_t i = place / pool.width.kernel, j = place % pool.width.kernel;
      indices[o * pool.channels + c] = (h.start + i * h.dilation) * pool.width.in + w.start + j * w.dilation;
    }
  }
}

template <class Place>
void index_rows(const Pool& pool, const Place* places, std::int64_t* indices) {
  const std::int64_t row_size = pool.width.out * pool.channels;
  for_image_rows(pool.images, pool.height.out, row_size, [&](std::int64_t image, std::int64_t row) {
    const std::int64_t at = (image * pool.height.out + row) * row_size;
    index_row(pool, places + at, row, indices + at);
  });
}

}  // namespace

void max_pool_forward(Pool pool, const float* x, float* y, PlacesOut places) {
  if (places.bytes)
    max_rows(pool, x, y, places.bytes);
  else if (places.words)
    max_rows(pool, x, y, places.words);
  else
    max_rows(pool, x, y, static_cast<NoPlace*>(nullptr));
}

void max_pool_backward(Pool pool, const float* dy, Places places, float* dx) {
  if (places.bytes)
    backward_rows(pool, dy, places.bytes, dx);
  else
    backward_rows(pool, dy, places.words, dx);
}

void max_pool_indices(Pool pool, Places places, std::int64_t* indices) {
  if (places.bytes)
    index_rows(pool, places.bytes, indices);
  else
    index_rows(pool, places.words, indices);
}

}  // namespace nervure::kernels::NV_ISA
