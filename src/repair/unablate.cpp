#include "winnow/repair/unablate.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "matrices.hpp"
#include "svd.hpp"
#include "winnow/base/error.hpp"
#include "winnow/metrics/opposition.hpp"
#include "winnow/repair/singular_vectors.hpp"

namespace winnow::repair {
namespace {

/// The update and what the weight writes, in the update's own singular vectors: dW = U*core*V^T.
struct Opposed {
  Eigen::MatrixXd core;
  Eigen::MatrixXd along, written;  ///< V^T*W^T*U, U^T*W*W^T*U
};

/// The most opposed direction, in the basis U; empty if none is above the threshold. Singular values up to
/// `rounding` are none.
Eigen::VectorXd most_opposed(const Opposed& opposed, double threshold, double rounding) {
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(opposed.core, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto& sigma = svd.singularValues();
  const double least = std::max(metrics::kLeastOpposingShare * sigma.norm(), rounding);
  Eigen::Index kept = 0;
  while (kept < sigma.size() && sigma[kept] >= least) ++kept;
  if (kept == 0) return {};
  const Eigen::MatrixXd left = svd.matrixU().leftCols(kept), right = svd.matrixV().leftCols(kept);
  const Matrix along = right.transpose() * opposed.along * left, written = left.transpose() * opposed.written * left;
  const metrics::Opposition opposition(row_major(along), row_major(written),
                                       std::span(sigma.data(), static_cast<std::size_t>(kept)));
  if (!opposition.is_finite()) {
    throw base::Error(base::ErrorKind::invalid_input, "the update is too large to be computed with");
  }
  const auto found = opposition.refined(opposition.over_span());
  if (!(found.value > threshold)) return {};
  const Eigen::Map<const Eigen::VectorXd> x(found.x.data(), kept);
  return (left * x.cwiseQuotient(sigma.head(kept))).normalized();
}

}  // namespace

Factors unablate(const Factors& update, const WeightProducts& weight, double threshold) {
  if (!(threshold > 0 && threshold < 1)) {
    throw base::Error(base::ErrorKind::usage, fmt::format("a threshold of {:g}", threshold))
        .expected("a number above 0, below 1");
  }
  require_same_shape(update, weight);
  const auto triplets = leading_triplets(update, update.rank);
  if (triplets.count == 0 || weight.norm() == 0) return update;
  const auto u = view(triplets.left, update.out_features, triplets.count);
  const auto v = view(triplets.right, update.in_features, triplets.count);
  const auto products = weight.times_outputs(triplets.left, triplets.count);
  const auto h = view(products, update.in_features, triplets.count);
  // Neither the size of dW nor that of W matters.
  const Eigen::Map<const Eigen::VectorXd> sigma(triplets.values.data(), u.cols());
  const double largest = sigma[0], norm = weight.norm();
  Opposed opposed{(sigma / largest).asDiagonal(), v.transpose() * h / norm, h.transpose() * h / (norm * norm)};
  Eigen::MatrixXd taken(u.cols(), u.cols());
  Eigen::Index count = 0;
  for (; count < taken.cols(); ++count) {
    Eigen::VectorXd z = most_opposed(opposed, threshold, kRounding);
    if (z.size() == 0) break;
    opposed.core -= z * (z.transpose() * opposed.core);
    taken.col(count) = z;
  }
  if (count == 0) return update;
  Factors result = update;
  if (opposed.core.norm() <= kRounding * size(update) * std::abs(update.scale) / largest) {
    std::fill(result.b.begin(), result.b.end(), 0.0);
    return result;
  }
  const Matrix q = u * taken.leftCols(count);
  const Matrix b = b_of(update) - q * (q.transpose() * b_of(update));
  result.b = row_major(b);
  check_result(result);
  return result;
}

}  // namespace winnow::repair
