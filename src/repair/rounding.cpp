#include "rounding.hpp"

#include <bit>

namespace winnow::repair {
namespace {

/// 2^(1 - p) for p digits of a significand.
double relative_unit(base::DType dtype) {
  switch (dtype) {
    case base::DType::bf16:
      return 0x1p-7;
    case base::DType::f16:
      return 0x1p-10;
    case base::DType::f32:
      return 0x1p-23;
    default:
      return 0x1p-52;
  }
}

/// A unit of the last place of `value`.
double unit(double value, double relative) {
  constexpr std::uint64_t kExponent = 0x7FF0000000000000;
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(value) & kExponent) * relative;
}

}  // namespace

Profile rounding_of(const slab::Slab& pair, int threads) {
  const double relative = relative_unit(pair.aligned_dtype);
  return profile(pair, threads, [relative](double base, double merged) {
    const double of_sum = unit(merged, relative), of_update = unit(merged - base, relative);
    return (of_sum * of_sum + of_update * of_update) / 12;
  });
}

}  // namespace winnow::repair
