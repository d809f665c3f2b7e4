// SPDX-License-Identifier: BSD-3-Clause
// The linear maps of Winograd's convolution: Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A, along one side at a time. Filter and
// tile of outputs are polynomials, taken at as many points as the squares of pixels have pixels along a side.
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308.
#pragma once

#include "kernels/lanes.h"

namespace nervure::kernels::NV_ISA {
namespace {

using namespace nervure::simd::NV_ISA;

/// For kSide points: 0, then the pairs p, -p of these, whose even and odd parts serve both, then infinity.
template <int kSide>
constexpr double kPairs[kSide / 2 - 1] = {1};
/// Measured, the error of F(4, 3) is 3.7 times smaller than with the usual 1 and 2; and 2/3 of 3/2 saves products.
template <>
constexpr double kPairs<6>[2] = {2.0 / 3, 1.5};
/// Of all, these have the smallest error for F(4, 5), and factors without rounding.
template <>
constexpr double kPairs<8>[3] = {0.5, 1, 2};

/// Factors of the maps.
template <int kSide>
struct Factors {
  static constexpr int kCount = kSide / 2 - 1;  // of pairs

  float power[kCount][kSide] = {};     // p^j
  float normed[kCount][kSide] = {};    // p^j / (2 p² Π (p² - q²)), q the other pairs
  float even[kCount][kCount] = {};     // of z^k in Π (z - q²), q the other pairs
  float odd[kCount][kCount] = {};      // the same times p
  float at_zero[kCount + 1] = {};      // of z^k in Π (1 - z / q²), q all pairs
  float at_infinity[kCount + 1] = {};  // of z^k in Π (z - q²)

  constexpr Factors() {
    for (int i = 0; i < kCount; ++i) {
      const double p = kPairs<kSide>[i];
      double others[kCount + 1] = {}, norm = 1 / (2 * p * p), value = 1;
      expand(others, i);
      for (int q = 0; q < kCount; ++q)
        if (q != i) norm /= p * p - kPairs<kSide>[q] * kPairs<kSide>[q];
      for (int j = 0; j < kSide; ++j, value *= p) {
        power[i][j] = static_cast<float>(value);
        normed[i][j] = static_cast<float>(value * norm);
      }
      for (int k = 0; k < kCount; ++k) {
        even[i][k] = static_cast<float>(others[k]);
        odd[i][k] = static_cast<float>(others[k] * p);
      }
    }
    double all[kCount + 1] = {};
    expand(all, kCount);
    for (int k = 0; k <= kCount; ++k) {
      at_zero[k] = static_cast<float>(all[k] / all[0]);
      at_infinity[k] = static_cast<float>(all[k]);
    }
  }

 private:
  /// Π (z - q²) over all pairs but number `without`.
  static constexpr void expand(double (&polynomial)[kCount + 1], int without) {
    polynomial[0] = 1;
    for (int q = 0; q < kCount; ++q) {
      if (q == without) continue;
      const double square = kPairs<kSide>[q] * kPairs<kSide>[q];
      for (int k = kCount; k > 0; --k) polynomial[k] = polynomial[k - 1] - square * polynomial[k];
      polynomial[0] *= -square;
    }
  }
};

template <int kSide>
constexpr Factors<kSide> kFactors{};

/// Σ factor[k] v[first + 2 k] over so many k.
template <int kTerms, int kIn>
NV_INLINE vf every_second(const float* factor, int step, const vf (&v)[kIn], int first) {
  vf sum = v[first] * factor[0];
#pragma GCC unroll 4
  for (int k = 1; k < kTerms; ++k) sum += v[first + 2 * k] * factor[step * k];
  return sum;
}

/// A square's side at the points: Bᵀ.
template <int kSide>
struct PixelsAtPoints {
  static constexpr int kIn = kSide, kOut = kSide, kCount = Factors<kSide>::kCount;
  static inline __attribute__((always_inline)) void apply(const vf (&d)[kIn], vf (&v)[kOut]) {
    constexpr const Factors<kSide>& f = kFactors<kSide>;
    v[0] = every_second<kCount + 1>(f.at_zero, 1, d, 0);
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) {
      const vf even = every_second<kCount>(f.even[i], 1, d, 2), odd = every_second<kCount>(f.odd[i], 1, d, 1);
      v[1 + 2 * i] = even + odd;
      v[2 + 2 * i] = even - odd;
    }
    v[kSide - 1] = every_second<kCount + 1>(f.at_infinity, 1, d, 1);
  }
};

/// A polynomial of kLength coefficients at the points: G, which is normed, and A.
template <int kSide, int kLength, bool kNormed>
struct AtPoints {
  static constexpr int kIn = kLength, kOut = kSide;
  static inline __attribute__((always_inline)) void apply(const vf (&g)[kIn], vf (&u)[kOut]) {
    constexpr const auto& factor = kNormed ? kFactors<kSide>.normed : kFactors<kSide>.power;
    u[0] = g[0];
#pragma GCC unroll 4
    for (int i = 0; i < Factors<kSide>::kCount; ++i) {
      const vf even = every_second<(kLength + 1) / 2>(factor[i], 2, g, 0);
      const vf odd = every_second<kLength / 2>(factor[i] + 1, 2, g, 1);
      u[1 + 2 * i] = even + odd;
      u[2 + 2 * i] = even - odd;
    }
    u[kSide - 1] = g[kLength - 1];
  }
};

/// Its adjoint: Gᵀ, normed, and Aᵀ.
template <int kSide, int kLength, bool kNormed>
struct FromPoints {
  static constexpr int kIn = kSide, kOut = kLength;
  static inline __attribute__((always_inline)) void apply(const vf (&m)[kIn], vf (&y)[kOut]) {
    constexpr const auto& factor = kNormed ? kFactors<kSide>.normed : kFactors<kSide>.power;
    constexpr int kCount = Factors<kSide>::kCount;
    vf even[kCount], odd[kCount];
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) {
      even[i] = m[1 + 2 * i] + m[2 + 2 * i];
      odd[i] = m[1 + 2 * i] - m[2 + 2 * i];
    }
#pragma GCC unroll 8
    for (int j = 0; j < kLength; ++j) {
      const vf(&part)[kCount] = j % 2 ? odd : even;
      vf sum = part[0] * factor[0][j];
      if (j == 0) sum += m[0];
      if (j == kLength - 1) sum += m[kSide - 1];
#pragma GCC unroll 4
      for (int i = 1; i < kCount; ++i) sum += part[i] * factor[i][j];
      y[j] = sum;
    }
  }
};

/// F(kOutputs, kFilter): so many outputs of so many taps along a side.
template <int kOutputs, int kFilter>
struct Points {
  static constexpr int kTile = kOutputs, kTaps = kFilter, kSide = kTile + kTaps - 1;

  using Input = PixelsAtPoints<kSide>;
  using Filter = AtPoints<kSide, kTaps, true>;
  using Output = FromPoints<kSide, kTile, false>;
  using OutputAdjoint = AtPoints<kSide, kTile, false>;
  using FilterAdjoint = FromPoints<kSide, kTaps, true>;
};

/// body(Points) of a transform that there is: 3 taps in tiles of 2 or 4, 5 taps in tiles of 4.
template <class Body>
inline void with_points(int tile, int taps, const Body& body) {
  if (taps == 5)
    body(Points<4, 5>{});
  else if (tile == 4)
    body(Points<4, 3>{});
  else
    body(Points<2, 3>{});
}

/// Map along the columns, then along the rows: at(i, j) gives, put(i, j, v) takes one vector.
template <class Map, class At, class Put>
NV_INLINE void transform_square(const At& at, const Put& put) {
  vf half[Map::kOut][Map::kIn];
  const auto map_column = [&](int j) NV_INLINE_LAMBDA {
    vf column[Map::kIn], mapped[Map::kOut];
#pragma GCC unroll 8
    for (int i = 0; i < Map::kIn; ++i) column[i] = at(i, j);
    Map::apply(column, mapped);
#pragma GCC unroll 8
    for (int i = 0; i < Map::kOut; ++i) half[i][j] = mapped[i];
  };
  const auto map_row = [&](int i) NV_INLINE_LAMBDA {
    vf mapped[Map::kOut];
    Map::apply(half[i], mapped);
#pragma GCC unroll 8
    for (int j = 0; j < Map::kOut; ++j) put(i, j, mapped[j]);
  };
  // Only the smallest stay in registers; for the others straight code is no faster and takes twice as long to compile.
  if constexpr (Map::kIn * Map::kOut <= 16) {
#pragma GCC unroll 4
    for (int j = 0; j < Map::kIn; ++j) map_column(j);
#pragma GCC unroll 4
    for (int i = 0; i < Map::kOut; ++i) map_row(i);
  } else {
    for (int j = 0; j < Map::kIn; ++j) map_column(j);
    for (int i = 0; i < Map::kOut; ++i) map_row(i);
  }
}

}  // namespace
}  // namespace nervure::kernels::NV_ISA
