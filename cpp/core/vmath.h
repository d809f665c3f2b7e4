// SPDX-License-Identifier: BSD-3-Clause
// Elementary functions of a vector of floats, correct at +-0, +-infinity and NaN. "ULP" is the largest error met
// against float64 (tests/test_vmath.py); the figure in brackets, where there is one, is for processors without fused
// multiply-add. Denormal results come out as zero, denormal arguments may count as zero: kernels run with denormals
// flushed.
//
// Polynomial coefficients are minimax fits (Lawson's algorithm) of the relative error, rounded to float one after
// another from the lowest degree up, each time refitting the rest.
#pragma once

#include "core/vec.h"

namespace nervure::simd::NV_ISA {

// Half as many lanes, in double; and half a vector of floats.
typedef double vd __attribute__((vector_size(4 * kLanes)));
typedef std::int64_t vl __attribute__((vector_size(4 * kLanes)));
typedef std::uint64_t vul __attribute__((vector_size(4 * kLanes)));
typedef float vh __attribute__((vector_size(2 * kLanes)));
typedef std::int32_t vhi __attribute__((vector_size(2 * kLanes)));

constexpr float kSmallestNormal = 0x1p-126f;

/// The sum of terms[i] x^i, neighbours first (Estrin): a processor that waits for a chain of multiplications has room
/// for fewer vectors at a time than one that waits for a tree.
template <int n>
NV_INLINE vf sum_of_powers(const vf (&terms)[n], vf x) {
  if constexpr (n == 1) {
    return terms[0];
  } else {
    vf pairs[(n + 1) / 2];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) pairs[i] = fma(terms[2 * i + 1], x, terms[2 * i]);
    if constexpr (n % 2 == 1) pairs[n / 2] = terms[n - 1];
    return sum_of_powers(pairs, x * x);
  }
}

/// c0 + c1 x + c2 x^2 + ...
template <class... Coefficients>
NV_INLINE vf polynomial(vf x, Coefficients... c) {
  const vf terms[] = {broadcast(c)...};
  return sum_of_powers(terms, x);
}

/// x = n ln 2 + r with |r| <= ln(2) / 2. Valid for |x| < 1e4.
struct ExpReduction {
  vf r, n;
  vu n_shifted;  // n << 23: added to the bits of a float it multiplies by 2^n
};
NV_INLINE ExpReduction reduce_exp(vf x) {
  const vf magic = broadcast(0x1.8p23f);  // adding it leaves round(x) in the low bits
  const vf t = fma(x, broadcast(1.44269504f), magic);
  const vf n = t - magic;
  vf r = fma(n, broadcast(-0.693359375f), x);  // 10 bits: the product is exact without fused multiply-add too
  r = fma(n, broadcast(2.12194440e-4f), r);
  return {r, n, (vu)t << 23};
}

/// e^x; 1.3 ULP.
NV_INLINE vf exp(vf x) {
#if defined(__AVX512F__)
  const ExpReduction e = reduce_exp(min(broadcast(100.0f), x));  // the scaling below makes infinity of e^100
#else
  const ExpReduction e = reduce_exp(x);
#endif
  const vf square = e.r * e.r;
  const vf low = fma(square, polynomial(e.r, 0.49999994f, 0.166665211f), e.r);
  const vf high = fma(square, broadcast(0.00138189388f), polynomial(e.r, 0.0416682884f, 0.00836870354f));
  const vf p = fma(square * square, high, low) + 1.0f;
  const vf smallest = broadcast(-87.33654f);  // ln of the smallest normal number
#if defined(__AVX512F__)
  const __mmask16 not_below = _mm512_cmp_ps_mask((__m512)x, (__m512)smallest, _CMP_NLT_UQ);
  return (vf)_mm512_maskz_scalef_ps(not_below, (__m512)p, (__m512)e.n);
#else
  const vf y = select(x >= smallest, (vf)((vu)p + e.n_shifted), vf{});
  return select(x <= broadcast(88.72283f), y, x * kInfinity);  // ln of the largest number; NaN stays NaN
#endif
}

/// 2^x for x <= 127; 2.0 (2.2) ULP. Two thirds of the time of exp(): what is known of x, and no reduction by ln 2.
NV_INLINE vf exp2(vf x) {
#if defined(__AVX512F__)
  const vf r = (vf)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);  // x - round(x)
#else
  const vf bounded = max(broadcast(-127.0f), x), magic = broadcast(0x1.8p23f);
  const vf t = bounded + magic;  // as in reduce_exp()
  const vf r = bounded - (t - magic);
#endif
  vf p = fma(r, broadcast(0.00132695551f), broadcast(0.0096712932f));
  p = fma(r, p, broadcast(0.0555071086f));
  p = fma(r, p, broadcast(0.240222469f));
  p = fma(r, p, broadcast(0.693147004f));
  p = fma(r, p, broadcast(1.0f));
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)(x - r));
#else
  return select(x < -126.0f, vf{}, (vf)((vu)p + ((vu)t << 23)));
#endif
}

/// e^x - 1 for x <= 88; 1.6 (1.7) ULP.
NV_INLINE vf expm1(vf x) {
  const ExpReduction e = reduce_exp(max(broadcast(-18.0f), x));
  const vf p = polynomial(e.r, 0.5f, 0.166665435f, 0.0416664109f, 0.0083665764f, 0.00139399897f);
  const vf q = fma(e.r * e.r, p, e.r);
  const vf scale = (vf)(e.n_shifted + 0x3f800000u);
  return fma(scale, q, scale - 1.0f);
}

/// Natural logarithm; 0.8 ULP. NaN below zero, -infinity at zero.
NV_INLINE vf log(vf x) {
  const vu from_sqrt_half = (vu)x - 0x3f3504f3u;
  const vi exponent = (vi)from_sqrt_half >> 23;
  const vf f = (vf)((vu)x - ((vu)exponent << 23)) - 1.0f;  // x = 2^exponent (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)
  const vf p = polynomial(f, 0.333333135f, -0.250000089f, 0.20002073f, -0.166679919f, 0.142203107f, -0.124061145f,
                          0.118838735f, -0.116711758f, 0.0674985722f);
  const vf n = to_float(exponent);
  const vf square = f * f;
  vf y = fma(square * f, p, n * -2.12194440e-4f);
  y = fma(square, broadcast(-0.5f), y) + f;
  y = fma(n, broadcast(0.693359375f), y);
  const vf at_zero = broadcast(-kInfinity), invalid = broadcast(__builtin_nanf(""));
  vf special = select(abs(x) < kSmallestNormal, at_zero, invalid);
  special = select(x == kInfinity, x, special);
  return select((x >= kSmallestNormal) & (x < kInfinity), y, special);
}

/// log(1 + x) for 0 <= x <= 1; 1.0 (1.3) ULP.
NV_INLINE vf log1p_unit(vf x) {
  const vf s = x / (x + 2.0f);  // log(1 + x) = 2 atanh(s)
  const vf z = s * s;
  const vf p = polynomial(z, 0.666666746f, 0.399989486f, 0.286152124f, 0.214438856f, 0.242452562f);
  return fma(s, fma(z, p, -x), x);  // 2 s = x - s x
}

/// log(1 + e^x); 1.7 (1.9) ULP.
NV_INLINE vf softplus(vf x) { return max(vf{}, x) + log1p_unit(exp(-abs(x))); }

/// 1 / (1 + e^-x); 2.4 ULP.
NV_INLINE vf sigmoid(vf x) { return 1.0f / (exp(-x) + 1.0f); }

/// Hyperbolic tangent; 4.8 (5.4) ULP. (Half the time of 1 - 2 / (1 + e^2x) with a polynomial near 0, which has 1.3.)
NV_INLINE vf tanh(vf x) {
  const vf edge = broadcast(9.2f), one = broadcast(1.0f);  // the quotient is 1 there, and larger beyond
  const vf a = max(-edge, min(edge, x)), z = a * a;
  const vf p = polynomial(z, 1.0f, 0.133803725f, 0.00349481287f, 2.05963242e-05f, 1.33368943e-08f);
  const vf q = polynomial(z, 1.0f, 0.46713689f, 0.0258740317f, 0.000328436727f, 7.76931188e-07f);
  return max(-one, min(one, a * p / q));
}

/// The normal distribution function less 1/2, erf(x / sqrt(2)) / 2; 5.0 (6.0) ULP.
NV_INLINE vf normal_less_half(vf x) {
  const vf edge = broadcast(5.65f), half = broadcast(0.5f);  // the quotient is 1/2 there, and larger beyond
  const vf a = max(-edge, min(edge, x)), z = a * a;
  const vf p =
      polynomial(z, 0.398942262f, 0.033659514f, 0.00466238149f, 0.000166419224f, 6.29509898e-06f, 2.265033e-08f);
  const vf q = polynomial(z, 1.0f, 0.251038224f, 0.0285273548f, 0.00187115651f, 7.26589126e-05f, 1.1903643e-06f);
  return max(-half, min(half, a * p / q));
}

/// The same function of each lane, through the C library; for arguments too rare to be worth vector code.
template <class Function>
NV_INLINE vf lane_by_lane(vf x, Function function) {
#pragma GCC unroll 1
  for (int i = 0; i < kLanes; ++i) x[i] = function(x[i]);
  return x;
}

/// Beyond it the reduction by pi/2 in three parts loses digits.
constexpr float kTrigonometricLimit = 8192.0f;

/// Whether the mask of a comparison holds in some lane.
NV_INLINE bool any(vi mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_ps((__m128)mask) != 0;
#else
  return vmaxvq_u32((uint32x4_t)mask) != 0;
#endif
}

/// sin(x + quadrant pi/2) for |x| <= kTrigonometricLimit.
NV_INLINE vf sine_from_quadrant(vf x, std::uint32_t quadrant) {
  const vf magic = broadcast(0x1.8p23f);
  const vf t = fma(x, broadcast(0.636619772f), magic);
  const vf n = t - magic;
  vf r = fma(n, broadcast(-1.5703125f), x);  // pi/2 in parts whose products with n are exact
  r = fma(n, broadcast(-4.837512969970703125e-4f), r);
  r = fma(n, broadcast(-7.54978995489188e-8f), r);
  const vu q = (vu)t + quadrant;
  const vf z = r * r;
  const vf sine = fma(z * r, polynomial(z, -0.166666672f, 0.0083333794f, -0.000198530062f, 2.83128315e-06f), r);
  const vf half = fma(z, broadcast(-0.5f), broadcast(1.0f));
  const vf cosine = fma(z * z, polynomial(z, 0.0416666679f, -0.00138889789f, 2.48214965e-05f, -2.8824212e-07f), half);
  const vf y = select((vi)((q & 1u) == 1u), cosine, sine);
  return (vf)((vu)y ^ ((q & 2u) << 30));
}

/// Sine; 1.6 ULP for |x| <= 100, absolute error 1e-7 up to 8192, the C library's beyond.
NV_INLINE vf sin(vf x) {
  if (any(abs(x) > kTrigonometricLimit)) [[unlikely]]
    return lane_by_lane(x, [](float v) { return __builtin_sinf(v); });
  return select(x == 0.0f, x, sine_from_quadrant(x, 0));  // keeps -0
}

/// Cosine; as sin().
NV_INLINE vf cos(vf x) {
  if (any(abs(x) > kTrigonometricLimit)) [[unlikely]]
    return lane_by_lane(x, [](float v) { return __builtin_cosf(v); });
  return sine_from_quadrant(x, 1);
}

/// m^y 2^(e y) for half a vector, in double: a float result needs log2 to 2^-32.
NV_INLINE vh pow_half(vh m, vhi e, vh y) {
  const vd mantissa = __builtin_convertvector(m, vd);
  const vd s = (mantissa - 1.0) / (mantissa + 1.0), z = s * s;
  const vd atanh =
      1.0 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13))))));
  const vd log2 = __builtin_convertvector(e, vd) + s * atanh * 2.885390081777926815;  // 2 / ln 2
  vd t = __builtin_convertvector(y, vd) * log2;
  t = t > 200.0 ? vd{} + 200.0 : t;
  t = t < -200.0 ? vd{} - 200.0 : t;
  const vd shifted = t + 0x1.8p52;
  const vd r = (t - (shifted - 0x1.8p52)) * 0.693147180559945309;
  vd p = 1.0 + r * (1.0 / 8);  // Taylor: |r| <= ln(2) / 2
#pragma GCC unroll 8
  for (int k = 7; k >= 1; --k) p = 1.0 + r * p * (1.0 / k);
  const vd scaled = (vd)((vl)p + (vl)((vul)shifted << 52));
  return __builtin_convertvector(scaled, vh);
}

/// x^y with the special cases of C's pow; 0.51 ULP.
NV_INLINE vf pow(vf x, vf y) {
  const vf a = abs(x);
  const vi exponent = (vi)((vu)a - 0x3f3504f3u) >> 23;
  const vf mantissa = (vf)((vu)a - ((vu)exponent << 23));
  vh m[2], n[2];
  vhi e[2];
  std::memcpy(m, &mantissa, sizeof m);
  std::memcpy(e, &exponent, sizeof e);
  std::memcpy(n, &y, sizeof n);
  m[0] = pow_half(m[0], e[0], n[0]);
  m[1] = pow_half(m[1], e[1], n[1]);
  vf z;
  std::memcpy(&z, m, sizeof z);

  const vi base_zero = a < kSmallestNormal, base_infinite = a == kInfinity;
  z = select(base_zero | base_infinite, select(base_zero ^ (y < 0.0f), vf{}, broadcast(kInfinity)), z);
  const vi small = abs(y) < 0x1p24f;  // all larger floats are even integers
  const vi whole = to_int(select(small, y, vf{}));
  const vi integer = ~small | (to_float(whole) == y);
  const vi odd = small & integer & ((whole & 1) == 1);
  const vf invalid = broadcast(__builtin_nanf(""));
  z = select((x < 0.0f) & ~base_zero & ~base_infinite & ~integer, invalid, z);
  z = select(odd, copysign(z, x), z);
  z = select((a == 1.0f) & (abs(y) == kInfinity), broadcast(1.0f), z);
  z = select(is_nan(x) | is_nan(y), invalid, z);
  return select((x == 1.0f) | (y == 0.0f), broadcast(1.0f), z);
}

}  // namespace nervure::simd::NV_ISA
