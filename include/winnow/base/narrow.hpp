// Checked conversions between integer types, e.g. to the int counts of MPI.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::base {

/// `value` as a To. Throws Error(runtime) naming `what` if it does not fit.
template <class To, class From>
To narrow(From value, std::string_view what) {
  if (!std::in_range<To>(value)) {
    throw Error(ErrorKind::runtime, fmt::format("{} is out of range: {}", what, value));
  }
  return static_cast<To>(value);
}

}  // namespace winnow::base
