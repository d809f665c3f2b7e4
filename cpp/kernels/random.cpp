// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/random.h"

#include <cstring>

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/vmath.h"
#include "kernels/philox.h"

namespace nervure::kernels::NV_ISA {
namespace {

struct Values {
  vf v[4];
};

/// y[i] = map(words) for the whole array; the last, partial group goes through a buffer.
template <class Map>
NV_INLINE void fill(const std::int64_t* stream, float* y, std::int64_t n, const Map& map) {
  const std::int64_t groups = (n + kGroupNumbers - 1) / kGroupNumbers;
  core::parallel_for(groups, kGroupGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      alignas(64) float last[kGroupNumbers];
      float* const start = y + group * kGroupNumbers;
      const std::int64_t left = n - group * kGroupNumbers;
      float* const target = left < kGroupNumbers ? last : start;
      deal_group(stream, group, [&](const Words& words, std::int64_t place) {
        const Values values = map(words);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) store(target + place + kGroupCounters * j, values.v[j]);
      });
      if (left < kGroupNumbers) std::memcpy(start, last, static_cast<std::size_t>(left) * sizeof(float));
    }
  });
}

/// x as it is, out of reach of the contraction of x * a + b: with it the last bit would depend on the CPU having FMA.
NV_INLINE vf rounded(vf x) {
#if defined(__x86_64__)
  __asm__("" : "+v"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

/// In [0, 1), of 24 bits.
NV_INLINE vf unit(vu word) { return to_float((vi)(word >> 8)) * 0x1p-24f; }

/// Two standard normal numbers from two words. The radius takes 1 - u, which is never 0.
NV_INLINE void box_muller(vu radius_word, vu angle_word, vf& z0, vf& z1) {
  constexpr float kTwoPi = 6.28318530717958647693f;
  const vf radius = sqrt(log(1.0f - unit(radius_word)) * -2.0f);
  const vf angle = to_float((vi)angle_word >> 8) * (0x1p-24f * kTwoPi);  // in [-pi, pi)
  z0 = radius * cos(angle);
  z1 = radius * sin(angle);
}

/// c0 + c1 x + c2 x^2 + ...
NV_INLINE double horner(double, double c0) { return c0; }
template <class... Rest>
NV_INLINE double horner(double x, double c0, Rest... rest) {
  return horner(x, rest...) * x + c0;
}

/// The value below which a standard normal number falls with probability p, 0 < p < 1. Coefficients of AS 241.
double normal_quantile(double p) {
  const double q = p - 0.5;
  if (__builtin_fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q *
           horner(r, 3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
                  45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727) /
           horner(r, 1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
                  39307.89580009271061, 28729.085735721942674, 5226.495278852854561);
  }
  const double tail = __builtin_sqrt(-__builtin_log(q < 0 ? p : 1.0 - p));
  double z;
  if (tail <= 5.0) {
    const double r = tail - 1.6;
    z = horner(r, 1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
               1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4) /
        horner(r, 1.0, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459,
               0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9);
  } else {
    const double r = tail - 5.0;
    z = horner(r, 6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
               0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
               2.01033439929228813265e-7) /
        horner(r, 1.0, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525,
               7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15);
  }
  return q < 0 ? -z : z;
}

/// The 64 words of one group in the order of core/rng.h.
NV_INLINE void draw_group(const std::int64_t* stream, std::int64_t group, std::uint32_t* numbers) {
  deal_group(stream, group, [&](const Words& words, std::int64_t place) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      store(reinterpret_cast<std::int32_t*>(numbers) + place + kGroupCounters * j, (vi)words.word[j]);
  });
}

/// body(i, r) for 64-bit numbers i in [0, n), in parallel chunks; within a chunk in order.
template <class Body>
NV_INLINE void draw_64(const std::int64_t* stream, std::int64_t n, const Body& body) {
  constexpr std::int64_t kEach = kGroupNumbers / 2;
  const std::int64_t groups = (n + kEach - 1) / kEach;
  core::parallel_for(groups, kGroupGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      alignas(64) std::uint32_t numbers[kGroupNumbers];
      draw_group(stream, group, numbers);
      const std::int64_t left = n - group * kEach;
      for (std::int64_t i = 0; i < (left < kEach ? left : kEach); ++i)
        body(group * kEach + i, (std::uint64_t{numbers[2 * i]} << 32) | numbers[2 * i + 1]);
    }
  });
}

/// floor(r * range / 2^64)
NV_INLINE std::uint64_t scale_to(std::uint64_t r, std::uint64_t range) {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(r) * range) >> 64);
}

}  // namespace

void random_uniform(const std::int64_t* stream, float low, float high, float largest, float* y, std::int64_t n) {
  const float width = high - low;
  fill(stream, y, n, [=](const Words& words) {
    Values values;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) values.v[j] = min(rounded(unit(words.word[j]) * width) + low, broadcast(largest));
    return values;
  });
}

void random_normal(const std::int64_t* stream, float mean, float std, float* y, std::int64_t n) {
  fill(stream, y, n, [=](const Words& words) {
    Values z;
    box_muller(words.word[0], words.word[1], z.v[0], z.v[1]);
    box_muller(words.word[2], words.word[3], z.v[2], z.v[3]);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) z.v[j] = z.v[j] * std + mean;
    return z;
  });
}

void random_truncated_normal(const std::int64_t* stream, const TruncatedNormal& distribution, float* y,
                             std::int64_t n) {
  const TruncatedNormal d = distribution;
  const double sign = d.mirror ? -1.0 : 1.0;
  const auto low = static_cast<float>(d.low), high = static_cast<float>(d.high);
  const std::int64_t groups = (n + kGroupNumbers - 1) / kGroupNumbers;
  core::parallel_for(groups, kGroupGrain / 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      alignas(64) std::uint32_t numbers[kGroupNumbers];
      draw_group(stream, group, numbers);
      const std::int64_t left = n - group * kGroupNumbers;
      for (std::int64_t i = 0; i < (left < kGroupNumbers ? left : kGroupNumbers); ++i) {
        const double u = (numbers[i] + 0.5) * 0x1p-32;
        const double z = sign * normal_quantile(d.p_low + u * (d.p_high - d.p_low));
        const auto x = static_cast<float>(d.mean + d.std * z);
        y[group * kGroupNumbers + i] = x < low ? low : x > high ? high : x;
      }
    }
  });
}

void random_bernoulli(const std::int64_t* stream, std::uint32_t threshold, float* y, std::int64_t n) {
  fill(stream, y, n, [=](const Words& words) {
    Values values;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) values.v[j] = select((vi)(words.word[j] < threshold), broadcast(1.0f), vf{});
    return values;
  });
}

void random_integers(const std::int64_t* stream, std::int64_t low, std::uint64_t range, std::int64_t* y,
                     std::int64_t n) {
  draw_64(stream, n, [=](std::int64_t i, std::uint64_t r) {
    y[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + (range == 0 ? r : scale_to(r, range)));
  });
}

void random_permutation(const std::int64_t* stream, std::int64_t* y, std::int64_t n) {
  if (n <= 0) return;
  const core::Scratch<std::uint64_t> draws(static_cast<std::size_t>(n));
  std::uint64_t* const r = draws.get();
  draw_64(stream, n, [=](std::int64_t i, std::uint64_t number) { r[i] = number; });
  for (std::int64_t i = 0; i < n; ++i) {
    const auto j = static_cast<std::int64_t>(scale_to(r[i], static_cast<std::uint64_t>(i) + 1));
    y[i] = y[j];  // its own place when j == i: written next
    y[j] = i;
  }
}

}  // namespace nervure::kernels::NV_ISA
