#include "winnow/repair/singular_vectors.hpp"

#include <fmt/format.h>

#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "matrices.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {

namespace {

constexpr double kSameDirection = 1e-6;

Matrix orthonormal(const Eigen::MatrixXd& columns) {
  if (columns.cols() == 0) return Matrix(columns.rows(), 0);
  Eigen::ColPivHouseholderQR<Eigen::MatrixXd> qr(columns);
  qr.setThreshold(kSameDirection);
  Eigen::MatrixXd basis = Eigen::MatrixXd::Identity(columns.rows(), qr.rank());
  basis.applyOnTheLeft(qr.householderQ());
  return basis;
}

}  // namespace

Triplets leading_triplets(const Factors& update, std::uint64_t k) {
  check(update);
  Triplets result;
  if (update.scale == 0 || k == 0) return result;
  const auto parts = decompose(update);
  result.count = std::min<std::uint64_t>(k, static_cast<std::uint64_t>(parts.values.size()));
  const auto count = static_cast<Eigen::Index>(result.count);
  for (Eigen::Index j = 0; j < count; ++j) {
    result.values.push_back(std::ldexp(std::abs(update.scale) * parts.values[j], parts.exponent));
  }
  const Matrix left = (update.scale < 0 ? -1.0 : 1.0) * parts.left.leftCols(count);
  const Matrix right = parts.right.leftCols(count);
  result.left = row_major(left);
  result.right = row_major(right);
  return result;
}

Subspace leading_directions(const Factors& probe, std::uint64_t k) {
  auto triplets = leading_triplets(probe, k);
  return {probe.out_features, probe.in_features,        triplets.count,
          triplets.count,     std::move(triplets.left), std::move(triplets.right)};
}

Subspace joined(std::span<const Subspace> parts) {
  if (parts.empty()) return {};
  Subspace whole{parts.front().out_features, parts.front().in_features, 0, 0, {}, {}};
  for (const auto& part : parts) {
    if (part.out_features != whole.out_features || part.in_features != whole.in_features) {
      throw base::Error(base::ErrorKind::invalid_input, "directions of modules of different shapes")
          .expected(fmt::format("[{}, {}], found [{}, {}]", whole.out_features, whole.in_features, part.out_features,
                                part.in_features));
    }
    whole.left_directions += part.left_directions;
    whole.right_directions += part.right_directions;
  }
  Eigen::MatrixXd left(whole.out_features, whole.left_directions), right(whole.in_features, whole.right_directions);
  Eigen::Index left_at = 0, right_at = 0;
  for (const auto& part : parts) {
    const auto u = view(part.left, part.out_features, part.left_directions);
    const auto v = view(part.right, part.in_features, part.right_directions);
    left.middleCols(left_at, u.cols()) = u;
    right.middleCols(right_at, v.cols()) = v;
    left_at += u.cols();
    right_at += v.cols();
  }
  if (!left.allFinite() || !right.allFinite()) {
    throw base::Error(base::ErrorKind::invalid_input, "directions that are not finite");
  }
  const auto u = orthonormal(left), v = orthonormal(right);
  whole.left_directions = static_cast<std::uint64_t>(u.cols());
  whole.right_directions = static_cast<std::uint64_t>(v.cols());
  whole.left = row_major(u);
  whole.right = row_major(v);
  return whole;
}

}  // namespace winnow::repair
