#include "winnow/compute/leading_block.hpp"

#include <Eigen/Core>
#include <algorithm>

#include "winnow/compute/gram_svd.hpp"

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kLeastSingularValue = 1e-6;  // beside the largest

}  // namespace

LeadingBlock::LeadingBlock(std::span<const double> btb, std::span<const double> gram_a, std::uint64_t rank)
    : rank_(rank) {
  const auto svd = gram_svd(btb, gram_a, rank);
  if (!svd) return;
  while (directions_ < std::min(svd->count, kLeadingDirections) && svd->values[directions_] > 0 &&
         svd->values[directions_] > kLeastSingularValue * svd->values[0]) {
    ++directions_;
  }
  for (std::uint64_t row = 0; row < rank; ++row) {
    const auto first = static_cast<std::ptrdiff_t>(row * svd->count),
               end = first + static_cast<std::ptrdiff_t>(directions_);
    left_.insert(left_.end(), svd->left.begin() + first, svd->left.begin() + end);
    right_.insert(right_.end(), svd->right.begin() + first, svd->right.begin() + end);
  }
}

double LeadingBlock::norm(std::span<const double> cross_b, std::span<const double> cross_a, std::uint64_t rank) const {
  const auto rows = static_cast<Eigen::Index>(rank_), columns = static_cast<Eigen::Index>(rank),
             kept = static_cast<Eigen::Index>(directions_);
  const Eigen::Map<const Matrix> b(cross_b.data(), rows, columns), a(cross_a.data(), rows, columns);
  const Eigen::Map<const Matrix> left(left_.data(), rows, kept), right(right_.data(), rows, kept);
  return ((left.transpose() * b) * (right.transpose() * a).transpose()).norm();
}

}  // namespace winnow::compute
