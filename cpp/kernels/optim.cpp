// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/optim.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/vec.h"

namespace nervure::kernels::NV_ISA {

using namespace nervure::simd::NV_ISA;

namespace {

// ---- walking over the list ----------------------------------------------------------------------------------------

/// The segment that holds place `at`, or the next one.
std::int64_t find_segment(const Segments& segments, std::int64_t at) {
  std::int64_t low = 0, high = segments.count;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    const Segment& s = segments.segment[middle];
    if (s.begin + s.size <= at) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// body(segment, from, to): elements [from, to) of each segment that has places in this chunk.
template <class Body>
NV_INLINE void visit_chunk(const Segments& segments, std::int64_t chunk, const Body& body) {
  const std::int64_t begin = chunk * kOptimChunk, end = begin + kOptimChunk;
  for (std::int64_t i = find_segment(segments, begin); i < segments.count; ++i) {
    const Segment& s = segments.segment[i];
    if (s.begin >= end) return;
    const std::int64_t from = s.begin < begin ? begin - s.begin : 0;
    const std::int64_t to = s.begin + s.size > end ? end - s.begin : s.size;
    body(s, from, to);
  }
}

NV_INLINE std::int64_t chunk_count(const Segments& segments) {
  return (segments.total + kOptimChunk - 1) / kOptimChunk;
}

/// Moves whole vectors.
struct Whole {
  vf get(const float* p) const { return load(p); }
  void put(float* p, vf x) const { store(p, x); }
};

/// Moves the first n lanes.
struct Part {
  std::int64_t n;
  vf get(const float* p) const { return load_partial(p, n); }
  void put(float* p, vf x) const { store_partial(p, x, n); }
};

/// body(segment, lanes, i) for every vector of every segment, starting at element i; `lanes` is Whole or Part.
template <class Body>
NV_INLINE void for_each_vector(const Segments& segments, const Body& body) {
  core::parallel_chunks(chunk_count(segments), [&](std::int64_t chunk) {
    visit_chunk(segments, chunk, [&](const Segment& segment, std::int64_t from, std::int64_t to) {
      const Segment s = segment;  // its pointers in registers: stores of floats cannot change them
      std::int64_t i = from;
      for (; i + kLanes <= to; i += kLanes) body(s, Whole{}, i);
      if (i < to) body(s, Part{to - i}, i);
    });
  });
}

// ---- what all updates share ---------------------------------------------------------------------------------------

/// The second operand of max and min is what a NaN gives.
NV_INLINE vf limited(vf g, float limit) { return max(broadcast(-limit), min(broadcast(limit), g)); }

/// The gradient as the update sees it, and the parameter after decoupled decay.
NV_INLINE void begin_update(const UpdateScalars& u, vf& p, vf& g) {
  g = limited(g, u.limit) * u.sign;
  if (u.decay != 0) g = fma(p, broadcast(u.decay), g);
  if (u.shrink != 1) p *= u.shrink;
}

/// max(0, x) and not max(x, 0): the second operand is what a NaN gives.
NV_INLINE vf end_update(const UpdateScalars& u, vf p) {
  return u.threshold == 0 ? p : copysign(max(vf{}, abs(p) - u.threshold), p);
}

template <bool kNesterov>
NV_INLINE void adam_list(const Segments& segments, const AdamScalars& k) {
  for_each_vector(segments, [k](const Segment& s, auto lanes, std::int64_t i) {
    vf p = lanes.get(s.parameter + i), g = lanes.get(s.gradient + i);
    begin_update(k.update, p, g);
    const vf m = fma(g, broadcast(k.one_minus_beta1), lanes.get(s.state[0] + i) * k.beta1);
    vf v = fma(g * k.one_minus_beta2, g, lanes.get(s.state[1] + i) * k.beta2);
    lanes.put(s.state[0] + i, m);
    lanes.put(s.state[1] + i, v);
    if (s.state[2]) {
      v = max(lanes.get(s.state[2] + i), v);
      lanes.put(s.state[2] + i, v);
    }
    const vf step = kNesterov ? fma(m, broadcast(k.m_scale), g * k.g_scale) : m * k.m_scale;
    p -= step / (sqrt(v) * k.correction + k.eps);
    lanes.put(s.parameter + i, end_update(k.update, p));
  });
}

// ---- norms --------------------------------------------------------------------------------------------------------

typedef float half_vf __attribute__((vector_size(2 * kLanes)));
typedef float half_vf_unaligned __attribute__((vector_size(2 * kLanes), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(4 * kLanes)));
constexpr int kDoubles = kLanes / 2;

NV_INLINE vd load_double(const float* p) {
  return __builtin_convertvector(static_cast<half_vf>(*reinterpret_cast<const half_vf_unaligned*>(p)), vd);
}

double sum_of_squares(const float* x, std::int64_t n) {
  constexpr int kChains = 4;  // hide the latency of the additions
  vd chain[kChains];
#pragma GCC unroll 4
  for (int c = 0; c < kChains; ++c) chain[c] = vd{};
  std::int64_t i = 0;
  for (; i + kChains * kDoubles <= n; i += kChains * kDoubles)
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      const vd v = load_double(x + i + c * kDoubles);
      chain[c] += v * v;
    }
  const vd lanes = (chain[0] + chain[1]) + (chain[2] + chain[3]);
  double sum = 0;
#pragma GCC unroll 8
  for (int lane = 0; lane < kDoubles; ++lane) sum += lanes[lane];
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

double sum_of_powers(const float* x, std::int64_t n, double order) {
  double sum = 0;
  if (order == 1) {
    for (std::int64_t i = 0; i < n; ++i) sum += __builtin_fabs(static_cast<double>(x[i]));
  } else {
    for (std::int64_t i = 0; i < n; ++i) sum += __builtin_pow(__builtin_fabs(static_cast<double>(x[i])), order);
  }
  return sum;
}

/// The larger one, or NaN when there is any.
NV_INLINE double larger(double a, double b) { return b > a || b != b ? b : a; }

double largest_magnitude(const float* x, std::int64_t n) {
  vf best{};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf v = abs(load(x + i));
    best = select((v > best) | is_nan(v), v, best);
  }
  double result = 0;
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) result = larger(result, static_cast<double>(best[lane]));
  for (; i < n; ++i) result = larger(result, __builtin_fabs(static_cast<double>(x[i])));
  return result;
}

}  // namespace

void sgd_step(const Segments& segments, const SgdScalars* scalars) {
  for_each_vector(segments, [k = *scalars](const Segment& s, auto lanes, std::int64_t i) {
    vf p = lanes.get(s.parameter + i), g = lanes.get(s.gradient + i);
    begin_update(k.update, p, g);
    if (s.state[0]) {
      const vf b = k.first_step ? g : fma(g, broadcast(k.keep), lanes.get(s.state[0] + i) * k.momentum);
      lanes.put(s.state[0] + i, b);
      g = k.nesterov ? fma(b, broadcast(k.momentum), g) : b;
    }
    p -= g * k.lr;
    lanes.put(s.parameter + i, end_update(k.update, p));
  });
}

void rmsprop_step(const Segments& segments, const RmspropScalars* scalars) {
  for_each_vector(segments, [k = *scalars](const Segment& s, auto lanes, std::int64_t i) {
    vf p = lanes.get(s.parameter + i), g = lanes.get(s.gradient + i);
    begin_update(k.update, p, g);
    vf v = fma(g * k.one_minus_alpha, g, lanes.get(s.state[0] + i) * k.alpha);
    lanes.put(s.state[0] + i, v);
    if (s.state[2]) {
      const vf a = fma(g, broadcast(k.one_minus_alpha), lanes.get(s.state[2] + i) * k.alpha);
      lanes.put(s.state[2] + i, a);
      v = max(vf{}, v - a * a);  // rounding may leave a variance of 0 below 0
    }
    vf step = g / (sqrt(v) + k.eps);
    if (s.state[1]) {
      step = fma(lanes.get(s.state[1] + i), broadcast(k.momentum), step);
      lanes.put(s.state[1] + i, step);
    }
    p -= step * k.lr;
    lanes.put(s.parameter + i, end_update(k.update, p));
  });
}

void adagrad_step(const Segments& segments, const AdagradScalars* scalars) {
  for_each_vector(segments, [k = *scalars](const Segment& s, auto lanes, std::int64_t i) {
    vf p = lanes.get(s.parameter + i), g = lanes.get(s.gradient + i);
    begin_update(k.update, p, g);
    const vf sum = fma(g, g, lanes.get(s.state[0] + i));
    lanes.put(s.state[0] + i, sum);
    p -= g * k.lr / (sqrt(sum) + k.eps);
    lanes.put(s.parameter + i, end_update(k.update, p));
  });
}

void adam_step(const Segments& segments, const AdamScalars* scalars) { adam_list<false>(segments, *scalars); }

void nadam_step(const Segments& segments, const AdamScalars* scalars) { adam_list<true>(segments, *scalars); }

void gradient_norm(const Segments& segments, double order, double* norm) {
  const std::int64_t chunks = chunk_count(segments);
  const core::Scratch<double> partial(static_cast<std::size_t>(chunks));
  double* const part = partial.get();
  const bool infinite = __builtin_isinf(order);
  core::parallel_chunks(chunks, [&](std::int64_t chunk) {
    double value = 0;
    visit_chunk(segments, chunk, [&](const Segment& s, std::int64_t from, std::int64_t to) {
      const float* const g = s.gradient + from;
      if (infinite) {
        value = larger(value, largest_magnitude(g, to - from));
      } else {
        value += order == 2 ? sum_of_squares(g, to - from) : sum_of_powers(g, to - from, order);
      }
    });
    part[chunk] = value;
  });
  double total = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
    total = infinite ? larger(total, part[chunk]) : total + part[chunk];
  *norm = infinite || order == 1 ? total : order == 2 ? __builtin_sqrt(total) : __builtin_pow(total, 1.0 / order);
}

void clip_by_norm(const Segments& segments, double max_norm, const double* norm) {
  const auto scale = static_cast<float>(max_norm / (*norm + 1e-6));
  if (scale >= 1) return;
  for_each_vector(segments, [scale](const Segment& s, auto lanes, std::int64_t i) {
    lanes.put(s.gradient + i, lanes.get(s.gradient + i) * scale);
  });
}

void clip_by_value(const Segments& segments, float limit) {
  for_each_vector(segments, [limit](const Segment& s, auto lanes, std::int64_t i) {
    lanes.put(s.gradient + i, limited(lanes.get(s.gradient + i), limit));
  });
}

}  // namespace nervure::kernels::NV_ISA
