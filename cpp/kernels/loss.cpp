// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/loss.h"

#include "core/vmath.h"
#include "kernels/pairwise.h"

namespace nervure::kernels::NV_ISA {
namespace {

constexpr std::int64_t kChunk = 16 * 1024;

struct Point {
  vf x, target, pos_weight, parameter;
};

// Each loss: its value, and its derivatives with respect to x and to the target.

/// The losses that are a function of x - target.
template <class Curve>
struct OfDifference {
  static constexpr bool kHasWeights = false;
  NV_INLINE vf value(const Point& p) { return Curve::value(p.x - p.target, p.parameter); }
  NV_INLINE vf dx(const Point& p) { return Curve::slope(p.x - p.target, p.parameter); }
  NV_INLINE vf dtarget(const Point& p) { return -dx(p); }
};

struct Square {
  NV_INLINE vf value(vf z, vf) { return z * z; }
  NV_INLINE vf slope(vf z, vf) { return z + z; }
};

struct Absolute {
  NV_INLINE vf value(vf z, vf) { return abs(z); }
  NV_INLINE vf slope(vf z, vf) {  // 0 at 0, and NaN stays
    return select(z > vf{}, broadcast(1.0f), select(z < vf{}, broadcast(-1.0f), z));
  }
};

struct Huber {
  NV_INLINE vf value(vf z, vf delta) {
    const vf a = abs(z);
    return select(a < delta, 0.5f * a * a, delta * (a - 0.5f * delta));
  }
  NV_INLINE vf slope(vf z, vf delta) { return select(abs(z) >= delta, copysign(delta, z), z); }
};

struct SmoothL1 {
  NV_INLINE vf value(vf z, vf beta) {
    const vf a = abs(z);
    return select(a < beta, 0.5f * a * a / beta, a - 0.5f * beta);
  }
  NV_INLINE vf slope(vf z, vf beta) { return select(abs(z) >= beta, copysign(broadcast(1.0f), z), z / beta); }
};

struct BinaryCrossEntropy {
  static constexpr bool kHasWeights = true;
  NV_INLINE vf clamped(vf logarithm) { return max(broadcast(-100.0f), logarithm); }
  /// log(1 - x); what 1 - x loses to rounding is put back to first order.
  NV_INLINE vf log_complement(vf x) {
    const vf u = 1.0f - x;
    const vf lost = (1.0f - u) - x;
    return log(u) + select(u == vf{}, vf{}, lost / u);
  }
  NV_INLINE vf value(const Point& p) {
    return -(p.target * clamped(log(p.x)) + (1.0f - p.target) * clamped(log_complement(p.x)));
  }
  NV_INLINE vf dx(const Point& p) { return (p.x - p.target) / max(broadcast(1e-12f), p.x * (1.0f - p.x)); }
  NV_INLINE vf dtarget(const Point& p) { return clamped(log_complement(p.x)) - clamped(log(p.x)); }
};

struct BinaryCrossEntropyWithLogits {
  static constexpr bool kHasWeights = true;
  NV_INLINE vf value(const Point& p) {
    const vf common = log1p_unit(exp(-abs(p.x)));
    return p.pos_weight * p.target * (max(-p.x, vf{}) + common) + (1.0f - p.target) * (max(p.x, vf{}) + common);
  }
  NV_INLINE vf dx(const Point& p) {
    const vf e = exp(-abs(p.x));
    const vf near = 1.0f / (1.0f + e), far = e * near;  // sigmoid of |x| and of -|x|
    const vi positive = p.x >= vf{};
    return (1.0f - p.target) * select(positive, near, far) - p.pos_weight * p.target * select(positive, far, near);
  }
  NV_INLINE vf dtarget(const Point& p) {
    const vf common = log1p_unit(exp(-abs(p.x)));
    return p.pos_weight * (max(-p.x, vf{}) + common) - (max(p.x, vf{}) + common);
  }
};

struct KlDiv {
  static constexpr bool kHasWeights = false;
  NV_INLINE vf value(const Point& p) {
    return select(p.target == vf{}, vf{}, p.target * log(p.target)) - p.target * p.x;
  }
  NV_INLINE vf dx(const Point& p) { return -p.target; }
  NV_INLINE vf dtarget(const Point& p) { return select(p.target == vf{}, vf{}, log(p.target) + 1.0f - p.x); }
};

struct KlDivLogTarget {
  static constexpr bool kHasWeights = false;
  NV_INLINE vf value(const Point& p) { return exp(p.target) * (p.target - p.x); }
  NV_INLINE vf dx(const Point& p) { return -exp(p.target); }
  NV_INLINE vf dtarget(const Point& p) { return exp(p.target) * (p.target - p.x + 1.0f); }
};

/// body(Loss) for the loss of this kind.
template <class Body>
void with_loss(PointwiseLoss kind, const Body& body) {
  switch (kind) {
    case PointwiseLoss::mse:
      return body(OfDifference<Square>{});
    case PointwiseLoss::l1:
      return body(OfDifference<Absolute>{});
    case PointwiseLoss::huber:
      return body(OfDifference<Huber>{});
    case PointwiseLoss::smooth_l1:
      return body(OfDifference<SmoothL1>{});
    case PointwiseLoss::binary_cross_entropy:
      return body(BinaryCrossEntropy{});
    case PointwiseLoss::binary_cross_entropy_with_logits:
      return body(BinaryCrossEntropyWithLogits{});
    case PointwiseLoss::kl_div:
      return body(KlDiv{});
    case PointwiseLoss::kl_div_log_target:
      return body(KlDivLogTarget{});
  }
}

template <class Loss>
NV_INLINE Point point_at(const PointwiseInputs& in, std::int64_t i, std::int64_t count) {
  const vf pos_weight = Loss::kHasWeights && in.pos_weight ? load_some(in.pos_weight + i, count) : broadcast(1.0f);
  return {load_some(in.x + i, count), load_some(in.target + i, count), pos_weight, broadcast(in.parameter)};
}

template <class Loss>
NV_INLINE vf weighted(const PointwiseInputs& in, std::int64_t i, std::int64_t count, vf v) {
  return Loss::kHasWeights && in.weight ? v * load_some(in.weight + i, count) : v;
}

template <class Loss>
NV_INLINE vf value_at(const PointwiseInputs& in, std::int64_t i, std::int64_t count) {
  return weighted<Loss>(in, i, count, Loss::value(point_at<Loss>(in, i, count)));
}

}  // namespace

void pointwise_loss_total(PointwiseLoss kind, PointwiseInputs inputs, std::int64_t n, float divisor, float* total) {
  with_loss(kind, [&]<class Loss>(Loss) {
    *total = parallel_sum(n, [=](std::int64_t i, std::int64_t count)
                                 NV_INLINE_LAMBDA { return value_at<Loss>(inputs, i, count); }) /
             divisor;
  });
}

void pointwise_loss_each(PointwiseLoss kind, PointwiseInputs inputs, std::int64_t n, float* loss) {
  with_loss(kind, [&]<class Loss>(Loss) {
    core::parallel_for(n, kChunk, [=](std::int64_t begin, std::int64_t end) {
      for_vectors(begin, end, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
        store_some(loss + i, value_at<Loss>(inputs, i, count), count);
      });
    });
  });
}

void pointwise_loss_backward(PointwiseLoss kind, PointwiseInputs inputs, std::int64_t n, float divisor, const float* dy,
                             bool per_element, float* dx, float* dtarget) {
  with_loss(kind, [&]<class Loss>(Loss) {
    core::parallel_for(n, kChunk, [=](std::int64_t begin, std::int64_t end) {
      const vf common = broadcast((per_element ? 1.0f : *dy) / divisor);
      for_vectors(begin, end, [&](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
        const Point p = point_at<Loss>(inputs, i, count);
        const vf factor = weighted<Loss>(inputs, i, count, per_element ? load_some(dy + i, count) * common : common);
        const vf gx = dx ? Loss::dx(p) * factor : vf{}, gt = dtarget ? Loss::dtarget(p) * factor : vf{};
        if (dx) store_some(dx + i, gx, count);
        if (dtarget) store_some(dtarget + i, gt, count);
      });
    });
  });
}

bool in_unit_interval(const float* x, std::int64_t n) {
  const vf one = broadcast(1.0f);
  return parallel_sum(n, [=](std::int64_t i, std::int64_t count) NV_INLINE_LAMBDA {
           const vf v = load_some(x + i, count);
           return select((v < vf{}) | (v > one), one, vf{});
         }) == 0.0f;
}

}  // namespace nervure::kernels::NV_ISA
