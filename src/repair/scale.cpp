#include "winnow/repair/scale.hpp"

#include <fmt/format.h>

#include "matrices.hpp"
#include "winnow/base/error.hpp"
#include "winnow/repair/deflect.hpp"

namespace winnow::repair {

Factors scaled(const Factors& update, double factor) {
  if (!(factor >= 0 && factor <= kMostStrength)) {
    throw base::Error(base::ErrorKind::usage, fmt::format("the factor is {:g}", factor))
        .expected(fmt::format("a number from 0 to {:g}", kMostStrength));
  }
  check(update);
  Factors result = update;
  for (auto& value : result.b) value *= factor;
  check_result(result);
  return result;
}

}  // namespace winnow::repair
