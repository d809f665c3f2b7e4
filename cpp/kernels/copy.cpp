// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/copy.h"

#include <cstring>

#include "kernels/elementwise.h"
#include "kernels/transpose.h"

namespace nervure::kernels::NV_ISA {
namespace {

// ---- copies -------------------------------------------------------------------------------------------------------

/// Offsets of both sides at the outer loops' index number `row`.
struct Place {
  std::int64_t from = 0, to = 0;

  Place(const Loops& loops, int outer, int skipped, std::int64_t row) {
    for (int j = outer - 1; j >= 0 && row > 0; --j) {
      if (j == skipped) continue;
      const std::int64_t i = row % loops.size[j];
      row /= loops.size[j];
      from += i * loops.stride[0][j];
      to += i * loops.stride[1][j];
    }
  }
};

template <class T>
void copy_row(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride, std::int64_t n) {
  if (from_stride == 1 && to_stride == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
  } else if (from_stride == 0 && to_stride == 1) {
    const T value = *from;
    for (std::int64_t i = 0; i < n; ++i) to[i] = value;
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

/// Row by row along the innermost loop; long rows in segments.
template <class T>
void copy_rows(const T* from, T* to, const Loops& loops) {
  const int last = loops.rank - 1;
  const std::int64_t length = loops.size[last], segments = (length + kGrain - 1) / kGrain;
  const std::int64_t rows = loops.numel() / length;
  const std::int64_t from_stride = loops.stride[0][last], to_stride = loops.stride[1][last];
  core::parallel_for(rows * segments, length < kGrain ? kGrain / length : 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const Place place(loops, last, -1, unit / segments);
      const std::int64_t first = unit % segments * kGrain;
      const std::int64_t n = length - first < kGrain ? length - first : kGrain;
      copy_row(from + place.from + first * from_stride, from_stride, to + place.to + first * to_stride, to_stride, n);
    }
  });
}

/// to[i * to_stride + j] = from[i + j * from_stride], tile by tile.
template <class T>
void transpose_tile(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride, std::int64_t rows,
                    std::int64_t columns) {
  std::int64_t j = 0;
  if constexpr (sizeof(T) == 4) {
    const std::int64_t full_rows = rows / kLanes * kLanes;
    for (; j + kLanes <= columns; j += kLanes) {
      for (std::int64_t i = 0; i < full_rows; i += kLanes)
        transpose_block(reinterpret_cast<const float*>(from) + i + j * from_stride, from_stride,
                        reinterpret_cast<float*>(to) + i * to_stride + j, to_stride);
      for (std::int64_t i = full_rows; i < rows; ++i)
        for (std::int64_t k = j; k < j + kLanes; ++k) to[i * to_stride + k] = from[i + k * from_stride];
    }
  }
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t k = j; k < columns; ++k) to[i * to_stride + k] = from[i + k * from_stride];
}

constexpr std::int64_t kTile = 64;  // elements a side: 2 x 16 KiB

/// The innermost loop is dense in `to`, loop `p` in `from`.
template <class T>
void copy_transposed(const T* from, T* to, const Loops& loops, int p) {
  const int last = loops.rank - 1;
  const std::int64_t rows = loops.size[p], columns = loops.size[last];
  const std::int64_t row_tiles = (rows + kTile - 1) / kTile, column_tiles = (columns + kTile - 1) / kTile;
  const std::int64_t outer = loops.numel() / (rows * columns);
  const std::int64_t tile_size = (rows < kTile ? rows : kTile) * (columns < kTile ? columns : kTile);
  const std::int64_t from_stride = loops.stride[0][last], to_stride = loops.stride[1][p];
  core::parallel_for(outer * row_tiles * column_tiles, kGrain / tile_size, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const Place place(loops, last, p, unit / (row_tiles * column_tiles));
      const std::int64_t i = unit / column_tiles % row_tiles * kTile, j = unit % column_tiles * kTile;
      transpose_tile(from + place.from + i + j * from_stride, from_stride, to + place.to + i * to_stride + j, to_stride,
                     rows - i < kTile ? rows - i : kTile, columns - j < kTile ? columns - j : kTile);
    }
  });
}

template <class T>
void copy_typed(const void* from, void* to, const Loops& loops) {
  auto* source = static_cast<const T*>(from);
  auto* target = static_cast<T*>(to);
  const int last = loops.rank - 1;
  if (loops.stride[1][last] == 1 && loops.stride[0][last] > 1)
    for (int p = 0; p < last; ++p)
      if (loops.stride[0][p] == 1) return copy_transposed(source, target, loops, p);
  copy_rows(source, target, loops);
}

// ---- conversions --------------------------------------------------------------------------------------------------

NV_INLINE void convert_one(float x, float& y) { y = x; }
NV_INLINE void convert_one(std::int64_t x, float& y) { y = static_cast<float>(x); }
NV_INLINE void convert_one(std::uint8_t x, float& y) { y = static_cast<float>(x); }
NV_INLINE void convert_one(float x, std::int64_t& y) {
  const bool fits = x >= -0x1p63f && x < 0x1p63f;
  y = fits ? static_cast<std::int64_t>(x) : INT64_MIN;
}
NV_INLINE void convert_one(std::int64_t x, std::int64_t& y) { y = x; }
NV_INLINE void convert_one(std::uint8_t x, std::int64_t& y) { y = x; }
template <class T>
NV_INLINE void convert_one(T x, std::uint8_t& y) {
  y = x != 0;
}

template <class From, class To>
void convert_array(const void* x, void* y, std::int64_t n) {
  auto* from = static_cast<const From*>(x);
  auto* to = static_cast<To*>(y);
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) convert_one(from[i], to[i]);
  });
}

template <class From>
void convert_from(const void* x, Element to, void* y, std::int64_t n) {
  switch (to) {
    case Element::float32:
      return convert_array<From, float>(x, y, n);
    case Element::int64:
      return convert_array<From, std::int64_t>(x, y, n);
    case Element::boolean:
      return convert_array<From, std::uint8_t>(x, y, n);
  }
}

template <class T>
void fill_array(void* y, std::int64_t n, T value) {
  auto* to = static_cast<T*>(y);
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = value;
  });
}

}  // namespace

void copy_strided(const void* from, void* to, std::int64_t item_bytes, const Loops& loops) {
  if (loops.numel() == 0) return;
  Loops one = loops;
  if (loops.rank == 0) {
    one.rank = 1;
    one.size[0] = 1;
  }
  if (item_bytes == 4) return copy_typed<std::uint32_t>(from, to, one);
  if (item_bytes == 8) return copy_typed<std::uint64_t>(from, to, one);
  copy_typed<std::uint8_t>(from, to, one);
}

void convert(Element from, const void* x, Element to, void* y, std::int64_t n) {
  switch (from) {
    case Element::float32:
      return convert_from<float>(x, to, y, n);
    case Element::int64:
      return convert_from<std::int64_t>(x, to, y, n);
    case Element::boolean:
      return convert_from<std::uint8_t>(x, to, y, n);
  }
}

void fill(Element type, void* y, std::int64_t n, double value, std::int64_t whole) {
  switch (type) {
    case Element::float32:
      return fill_array(y, n, static_cast<float>(value));
    case Element::int64:
      return fill_array(y, n, whole);
    case Element::boolean:
      return fill_array(y, n, static_cast<std::uint8_t>(value != 0));
  }
}

void arange_float(float* y, std::int64_t n, double start, double step) {
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = static_cast<float>(start + static_cast<double>(i) * step);
  });
}

void arange_int(std::int64_t* y, std::int64_t n, std::int64_t start, std::int64_t step) {
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = start + i * step;
  });
}

}  // namespace nervure::kernels::NV_ISA
