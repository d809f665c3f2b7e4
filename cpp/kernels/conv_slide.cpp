// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/conv_slide.h"

#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

// Registers: taps * factors sums, `taps` pixels of dy and a factor.
#if defined(__AVX512F__)
constexpr int kOfThree = 8, kOfFive = 5;
#else
constexpr int kOfThree = 4, kOfFive = 2;
#endif

template <bool Masked>
NV_INLINE vf load_lanes(const float* p, std::int64_t lanes) {
  return Masked ? load_partial(p, lanes) : load(p);
}

/// Taps [First, Last) of one pixel of x.
template <int Taps, int Factors, int First, int Last>
NV_INLINE void add_pixel(const float* const (&x)[Factors], std::int64_t at, const vf (&d)[Taps],
                         vf (&acc)[Factors][Taps]) {
#pragma GCC unroll 8
  for (int i = 0; i < Factors; ++i) {
    const vf factor = broadcast(x[i][at]);
#pragma GCC unroll 8
    for (int s = First; s < Last; ++s) acc[i][s] = fma(factor, d[s], acc[i][s]);
  }
}

template <int Taps>
NV_INLINE void next_pixel(vf (&d)[Taps], vf pixel) {
#pragma GCC unroll 8
  for (int s = Taps - 1; s > 0; --s) d[s] = d[s - 1];
  d[0] = pixel;
}

/// The pixels of x at the left end, which only the first taps reach.
template <bool Masked, int Pixel, int Taps, int Factors>
NV_INLINE void add_left(const float* const (&x)[Factors], std::int64_t x_step, const float* dy, std::int64_t dy_step,
                        std::int64_t lanes, vf (&d)[Taps], vf (&acc)[Factors][Taps]) {
  if constexpr (Pixel < Taps - 1) {
    next_pixel(d, load_lanes<Masked>(dy + Pixel * dy_step, lanes));
    add_pixel<Taps, Factors, 0, Pixel + 1>(x, Pixel * x_step, d, acc);
    add_left<Masked, Pixel + 1>(x, x_step, dy, dy_step, lanes, d, acc);
  }
}

/// Those at the right end, which only the last taps reach.
template <int Taps, int Factors, int First>
NV_INLINE void add_right(const float* const (&x)[Factors], std::int64_t at, std::int64_t x_step, vf (&d)[Taps],
                         vf (&acc)[Factors][Taps]) {
  if constexpr (First < Taps) {
    next_pixel(d, d[0]);
    add_pixel<Taps, Factors, First, Taps>(x, at, d, acc);
    add_right<Taps, Factors, First + 1>(x, at + x_step, x_step, d, acc);
  }
}

template <int Taps, int Factors, bool Masked>
NV_INLINE void run(const SlideRows& rows, const float* const* x, float* const* sum, std::int64_t tap_step,
                   bool accumulate) {
  const std::int64_t lanes = rows.lanes, x_step = rows.x_step, dy_step = rows.dy_step;
  vf acc[Factors][Taps];
#pragma GCC unroll 8
  for (int i = 0; i < Factors; ++i)
#pragma GCC unroll 8
    for (int s = 0; s < Taps; ++s) acc[i][s] = accumulate ? load_lanes<Masked>(sum[i] + s * tap_step, lanes) : vf{};
  const float* dy = rows.dy;
  for (std::int64_t row = 0; row < rows.count; ++row) {
    const float* from[Factors];
#pragma GCC unroll 8
    for (int i = 0; i < Factors; ++i) from[i] = x[i] + rows.rows[row];
    vf d[Taps] = {};
    add_left<Masked, 0>(from, x_step, dy, dy_step, lanes, d, acc);
    dy += (Taps - 1) * dy_step;
    std::int64_t at = (Taps - 1) * x_step;
    for (std::int64_t left = rows.columns - (Taps - 1); left > 0; --left, at += x_step, dy += dy_step) {
      next_pixel(d, load_lanes<Masked>(dy, lanes));
      add_pixel<Taps, Factors, 0, Taps>(from, at, d, acc);
    }
    add_right<Taps, Factors, 1>(from, at, x_step, d, acc);
  }
#pragma GCC unroll 8
  for (int i = 0; i < Factors; ++i)
#pragma GCC unroll 8
    for (int s = 0; s < Taps; ++s) {
      if (Masked)
        store_partial(sum[i] + s * tap_step, acc[i][s], lanes);
      else
        store(sum[i] + s * tap_step, acc[i][s]);
    }
}

using Function = void (*)(const SlideRows& rows, const float* const* x, float* const* sum, std::int64_t tap_step,
                          bool accumulate);

template <int Taps, int Most, int Factors>
void slide_some(const SlideRows& rows, const float* const* x, float* const* sum, std::int64_t tap_step,
                bool accumulate) {
  if constexpr (Factors <= Most) {
    if (rows.lanes == kLanes)
      run<Taps, Factors, false>(rows, x, sum, tap_step, accumulate);
    else
      run<Taps, Factors, true>(rows, x, sum, tap_step, accumulate);
  }
}

template <int Taps, int Most>
constexpr Function kFunctions[kSlideFactors] = {
    slide_some<Taps, Most, 1>, slide_some<Taps, Most, 2>, slide_some<Taps, Most, 3>, slide_some<Taps, Most, 4>,
    slide_some<Taps, Most, 5>, slide_some<Taps, Most, 6>, slide_some<Taps, Most, 7>, slide_some<Taps, Most, 8>};

}  // namespace

int slide_factors(std::int64_t taps) { return taps == 3 ? kOfThree : taps == 5 ? kOfFive : 0; }

void slide(std::int64_t taps, int factors, const SlideRows& rows, const float* const* x, float* const* sum,
           std::int64_t tap_step, bool accumulate) {
  (taps == 3 ? kFunctions<3, kOfThree> : kFunctions<5, kOfFive>)[factors - 1](rows, x, sum, tap_step, accumulate);
}

}  // namespace nervure::kernels::NV_ISA
