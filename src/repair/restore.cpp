#include "winnow/repair/restore.hpp"

#include <cmath>

#include "matrices.hpp"

namespace winnow::repair {
namespace {

/// Of ||dW||, below which a projection is rounding of factors in float32.
constexpr double kNegligible = 1e-7;

}  // namespace

Factors restore(const Factors& update, const Triplets& leading) {
  check(update);
  const auto u = view(leading.left, update.out_features, leading.count);
  const auto v = view(leading.right, update.in_features, leading.count);
  if (leading.count == 0 || update.rank == 0 || update.scale == 0) return update;
  // Of B*A: the scale gives it its sign.
  const Matrix left = u.transpose() * b_of(update), right = a_of(update) * v;
  const Eigen::VectorXd along = left.cwiseProduct(right.transpose()).rowwise().sum();
  const auto all = norm(update);
  const double least = std::max(kNegligible * std::ldexp(all.value, all.exponent), kRounding * size(update));
  Eigen::VectorXd taken = Eigen::VectorXd::Zero(along.size());
  for (Eigen::Index j = 0; j < along.size(); ++j) {
    if (along[j] * std::copysign(1.0, update.scale) < -least) taken[j] = -along[j];
  }
  return with_triplets(update, u, taken, v);
}

}  // namespace winnow::repair
