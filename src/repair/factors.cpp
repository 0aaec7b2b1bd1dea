#include "winnow/repair/factors.hpp"

#include <cmath>

#include "matrices.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {

void check(const Factors& factors) {
  if (b_of(factors).allFinite() && a_of(factors).allFinite() && std::isfinite(factors.scale)) return;
  throw base::Error(base::ErrorKind::invalid_input, "factors that are not finite");
}

Factors of_smallest_rank(const Factors& factors) {
  check(factors);
  const auto parts = decompose(factors);
  const auto count = static_cast<std::uint64_t>(parts.values.size());
  if (count == factors.rank) return factors;
  Factors result{factors.out_features, factors.in_features, count, factors.scale, {}, {}};
  const int to_left = parts.exponent / 2, to_right = parts.exponent - to_left;
  const Eigen::VectorXd roots = parts.values.cwiseSqrt();
  const Matrix b = parts.left * (roots * std::ldexp(1.0, to_left)).asDiagonal();
  const Matrix a = (parts.right * (roots * std::ldexp(1.0, to_right)).asDiagonal()).transpose();
  result.b = row_major(b);
  result.a = row_major(a);
  return result;
}

}  // namespace winnow::repair
