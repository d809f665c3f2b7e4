// SPDX-License-Identifier: BSD-3-Clause
// Checks of user input, in ops/ and bindings/ only: kernels assume valid input.
//   NV_CHECK(x.rank() == 2, "linear", "input must be (..., in), got ", x.shape());
//   -> ValueError: [linear] input must be (..., in), got (3,)
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "core/tensor.h"

namespace nervure::core {

/// Becomes TypeError in Python.
struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
/// Becomes IndexError in Python.
struct IndexError : std::out_of_range {
  using std::out_of_range::out_of_range;
};
/// Becomes RuntimeError in Python: the call is right, the moment is not (backward twice).
struct StateError : std::logic_error {
  using std::logic_error::logic_error;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.str(); }
inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << dtype_name(dtype); }

template <class... Parts>
std::string message(const char* op, const Parts&... parts) {
  std::ostringstream out;
  out << '[' << op << "] ";
  (out << ... << parts);
  return out.str();
}

/// The dimension counted from 0, of one that may be counted from the end; throws IndexError.
int normalize_dim(const char* op, std::int64_t dim, int rank);
/// Throws TypeError unless `tensor` (named `what` in the message) has this dtype.
void check_dtype(const char* op, const char* what, const Tensor& tensor, DType expected);

}  // namespace nervure::core

// Messages are built only when the check fails.
#define NV_CHECK_AS(Error, condition, op, ...)                \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      throw Error(::nervure::core::message(op, __VA_ARGS__)); \
  } while (false)
#define NV_CHECK(condition, op, ...) NV_CHECK_AS(std::invalid_argument, condition, op, __VA_ARGS__)
#define NV_CHECK_TYPE(condition, op, ...) NV_CHECK_AS(::nervure::core::TypeError, condition, op, __VA_ARGS__)
#define NV_CHECK_INDEX(condition, op, ...) NV_CHECK_AS(::nervure::core::IndexError, condition, op, __VA_ARGS__)
