#include "winnow/base/conversion.hpp"

#include <cmath>

#include "winnow/base/dtype.hpp"

namespace winnow::base {
namespace {

/// What becomes of a weight that is stored in another format.
double converted(double weight, std::uint8_t conversion) {
  const auto narrow = static_cast<float>(weight);
  if (conversion == kToBf16) return static_cast<double>(bf16_to_float(float_to_bf16(narrow)));
  if (conversion == kToF16) return static_cast<double>(f16_to_float(float_to_f16(narrow)));
  return conversion == kToF32 ? static_cast<double>(narrow) : weight;
}

}  // namespace

std::uint8_t conversions_of(const double* weight, const double* other, std::uint64_t count, std::uint8_t conversions) {
  // A weight that is changed differs in its first entries.
  for (const std::uint8_t one : {kExact, kToF32, kToBf16, kToF16}) {
    if ((conversions & one) == 0) continue;
    for (std::uint64_t k = 0; k < count; ++k) {
      if (other[k] == converted(weight[k], one) || std::isnan(weight[k])) continue;
      conversions &= static_cast<std::uint8_t>(~one);
      break;
    }
  }
  return conversions;
}

}  // namespace winnow::base
