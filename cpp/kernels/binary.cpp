// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/binary.h"

#include "core/vmath.h"
#include "kernels/elementwise.h"

namespace nervure::kernels::NV_ISA {
namespace {

#define NV_FUNCTOR2(Name, expression)                                       \
  struct Name {                                                             \
    static constexpr int inputs = 2;                                        \
    NV_INLINE_METHOD vf operator()(vf a, vf b) const { return expression; } \
  };
#define NV_INLINE_METHOD inline __attribute__((always_inline))

NV_FUNCTOR2(Add, a + b)
NV_FUNCTOR2(Sub, a - b)
NV_FUNCTOR2(Mul, a* b)
NV_FUNCTOR2(Div, a / b)
NV_FUNCTOR2(Pow, simd::NV_ISA::pow(a, b))
NV_FUNCTOR2(Maximum, select(is_nan(a), a, max(a, b)))
NV_FUNCTOR2(Minimum, select(is_nan(a), a, min(a, b)))

// Powers with one exponent for all: the second input is not read.
NV_FUNCTOR2(Square, (static_cast<void>(b), a* a))
NV_FUNCTOR2(Cube, (static_cast<void>(b), a* a* a))
NV_FUNCTOR2(SquareRoot, (static_cast<void>(b), simd::NV_ISA::sqrt(a)))
NV_FUNCTOR2(Reciprocal, (static_cast<void>(b), 1.0f / a))
NV_FUNCTOR2(InverseRoot, (static_cast<void>(b), 1.0f / simd::NV_ISA::sqrt(a)))

#define NV_FUNCTOR3(Name, expression)                                             \
  struct Name {                                                                   \
    static constexpr int inputs = 3;                                              \
    NV_INLINE_METHOD vf operator()(vf d, vf a, vf b) const { return expression; } \
  };

NV_FUNCTOR3(DivBackward, -d*(a / b) / b)
NV_FUNCTOR3(PowBackwardBase, select(b == 0.0f, vf{}, d*(b* simd::NV_ISA::pow(a, b - 1.0f))))
NV_FUNCTOR3(PowBackwardExponent, select((a == 0.0f) & (b >= 0.0f), vf{}, d*(simd::NV_ISA::pow(a, b) * log(a))))
NV_FUNCTOR3(MaximumBackward, select(a == b, d * 0.5f, select(a < b, vf{}, d)))
NV_FUNCTOR3(MinimumBackward, select(a == b, d * 0.5f, select(a > b, vf{}, d)))

BlockFunction block_of(Binary op) {
  switch (op) {
    case Binary::add:
      return float_block<Add>;
    case Binary::sub:
      return float_block<Sub>;
    case Binary::mul:
      return float_block<Mul>;
    case Binary::div:
      return float_block<Div>;
    case Binary::pow:
      return float_block<Pow>;
    case Binary::maximum:
      return float_block<Maximum>;
    case Binary::minimum:
      return float_block<Minimum>;
  }
  return nullptr;
}

BlockFunction block_of_power(float exponent) {
  if (exponent == 2.0f) return float_block<Square>;
  if (exponent == 3.0f) return float_block<Cube>;
  if (exponent == 0.5f) return float_block<SquareRoot>;
  if (exponent == -1.0f) return float_block<Reciprocal>;
  if (exponent == -0.5f) return float_block<InverseRoot>;
  return float_block<Pow>;
}

BlockFunction block_of(Ternary op) {
  switch (op) {
    case Ternary::div_backward:
      return float_block<DivBackward>;
    case Ternary::pow_backward_base:
      return float_block<PowBackwardBase>;
    case Ternary::pow_backward_exponent:
      return float_block<PowBackwardExponent>;
    case Ternary::maximum_backward:
      return float_block<MaximumBackward>;
    case Ternary::minimum_backward:
      return float_block<MinimumBackward>;
  }
  return nullptr;
}

bool is_scalar(const Loops& loops, int input) {
  for (int j = 0; j < loops.rank; ++j)
    if (loops.stride[input][j] != 0) return false;
  return true;
}

}  // namespace

void binary_flat(Binary op, const float* a, const float* b, float* y, std::int64_t n) {
  const BlockFunction function = block_of(op);
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    const void* inputs[] = {a + begin, b + begin};
    function(inputs, y + begin, end - begin);
  });
}

void binary_forward(Binary op, const float* a, const float* b, float* y, const Loops& loops) {
  if (loops.numel() == 0) return;
  const bool one_power = op == Binary::pow && is_scalar(loops, 1);
  const BlockFunction function = one_power ? block_of_power(*b) : block_of(op);
  run_elementwise({function, 2, {a, b}, {4, 4}, y, 4}, loops);
}

void ternary_forward(Ternary op, const float* a, const float* b, const float* c, float* y, const Loops& loops) {
  run_elementwise({block_of(op), 3, {a, b, c}, {4, 4, 4}, y, 4}, loops);
}

}  // namespace nervure::kernels::NV_ISA
