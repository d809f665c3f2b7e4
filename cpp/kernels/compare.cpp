// SPDX-License-Identifier: BSD-3-Clause
// Loops on scalars: the compiler vectorises these, the narrowing to bytes included.
#include "kernels/compare.h"

#include "kernels/elementwise.h"

namespace nervure::kernels::NV_ISA {
namespace {

template <class F, class T>
void compare_block(const void* const* inputs, void* output, std::int64_t n) {
  auto* __restrict y = static_cast<std::uint8_t*>(output);
  auto* a = static_cast<const T*>(inputs[0]);
  auto* b = static_cast<const T*>(inputs[1]);
  for (std::int64_t i = 0; i < n; ++i) y[i] = F{}(a[i], b[i]);
}

template <class T>
void where_block(const void* const* inputs, void* output, std::int64_t n) {
  auto* __restrict y = static_cast<T*>(output);
  auto* condition = static_cast<const std::uint8_t*>(inputs[0]);
  auto* a = static_cast<const T*>(inputs[1]);
  auto* b = static_cast<const T*>(inputs[2]);
  for (std::int64_t i = 0; i < n; ++i) {
    const T yes = a[i], no = b[i];  // both are read, so that the choice is a blend
    y[i] = condition[i] ? yes : no;
  }
}

#define NV_COMPARISON(Name, operation)       \
  struct Name {                              \
    template <class T>                       \
    inline bool operator()(T a, T b) const { \
      return a operation b;                  \
    }                                        \
  };
NV_COMPARISON(Equal, ==)
NV_COMPARISON(NotEqual, !=)
NV_COMPARISON(Less, <)
NV_COMPARISON(LessEqual, <=)
NV_COMPARISON(Greater, >)
NV_COMPARISON(GreaterEqual, >=)
NV_COMPARISON(And, &)
NV_COMPARISON(Or, |)

template <class T>
BlockFunction block_of(Compare op) {
  switch (op) {
    case Compare::eq:
      return compare_block<Equal, T>;
    case Compare::ne:
      return compare_block<NotEqual, T>;
    case Compare::lt:
      return compare_block<Less, T>;
    case Compare::le:
      return compare_block<LessEqual, T>;
    case Compare::gt:
      return compare_block<Greater, T>;
    case Compare::ge:
      return compare_block<GreaterEqual, T>;
    case Compare::logical_and:
      return compare_block<And, std::uint8_t>;
    case Compare::logical_or:
      return compare_block<Or, std::uint8_t>;
  }
  return nullptr;
}

constexpr std::int64_t bytes_of(Element type) { return type == Element::float32 ? 4 : type == Element::int64 ? 8 : 1; }

}  // namespace

void compare_forward(Compare op, Element type, const void* a, const void* b, std::uint8_t* y, const Loops& loops) {
  const BlockFunction function = type == Element::float32 ? block_of<float>(op)
                                 : type == Element::int64 ? block_of<std::int64_t>(op)
                                                          : block_of<std::uint8_t>(op);
  run_elementwise({function, 2, {a, b}, {bytes_of(type), bytes_of(type)}, y, 1}, loops);
}

void where_forward(Element type, const std::uint8_t* condition, const void* a, const void* b, void* y,
                   const Loops& loops) {
  const BlockFunction function = type == Element::float32 ? where_block<float>
                                 : type == Element::int64 ? where_block<std::int64_t>
                                                          : where_block<std::uint8_t>;
  const std::int64_t bytes = bytes_of(type);
  run_elementwise({function, 3, {condition, a, b}, {1, bytes, bytes}, y, bytes}, loops);
}

void logical_not_forward(const std::uint8_t* x, std::uint8_t* y, std::int64_t n) {
  core::parallel_for(n, 4 * kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = x[i] == 0;
  });
}

void float_test_forward(FloatTest test, const float* x, std::uint8_t* y, std::int64_t n) {
  core::parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    if (test == FloatTest::isnan)
      for (std::int64_t i = begin; i < end; ++i) y[i] = x[i] != x[i];
    else
      for (std::int64_t i = begin; i < end; ++i) y[i] = __builtin_fabsf(x[i]) < __builtin_inff();
  });
}

}  // namespace nervure::kernels::NV_ISA
