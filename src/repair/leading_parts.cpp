#include "leading_parts.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <utility>

#include "svd.hpp"
#include "winnow/base/philox.hpp"

namespace winnow::repair {
namespace {

Eigen::MatrixXd orthonormal(const Eigen::MatrixXd& columns) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(columns);
  return qr.householderQ() * Eigen::MatrixXd::Identity(columns.rows(), columns.cols());
}

/// D = B * (D^T*B)^T within the span of B.
struct Parts {
  Eigen::MatrixXd right;   ///< i x c, orthonormal
  Eigen::MatrixXd turned;  ///< c x c: of B to the left singular vectors
  Eigen::VectorXd values;  ///< falling
};

Parts parts_of(const Matrix& y) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(y);
  const Eigen::MatrixXd triangle = qr.matrixQR().topRows(y.cols()).triangularView<Eigen::Upper>();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(triangle, Eigen::ComputeFullU | Eigen::ComputeFullV);
  Eigen::MatrixXd right = Eigen::MatrixXd::Identity(y.rows(), y.cols());
  right.topRows(y.cols()) = svd.matrixU();
  right.applyOnTheLeft(qr.householderQ());
  return {std::move(right), svd.matrixV(), svd.singularValues()};
}

}  // namespace

Eigen::MatrixXd random_start(std::uint64_t rows, std::uint64_t columns, const std::string& name) {
  Eigen::MatrixXd start(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
  base::NormalStream(0, name).fill(0, static_cast<std::size_t>(start.size()), start.data());
  return start;
}

Eigen::Index LeadingParts::above(double share) const {
  Eigen::Index count = 0;
  while (count < values.size() && values[count] > share * values[0]) ++count;
  return count;
}

LeadingParts leading_parts(const Eigen::MatrixXd& start, const std::function<Matrix(const Eigen::MatrixXd&)>& to_inputs,
                           const std::function<Matrix(const Matrix&)>& to_outputs, std::uint64_t k,
                           const IterationLimits& limits) {
  auto basis = orthonormal(start);
  const auto leading = std::min<Eigen::Index>(static_cast<Eigen::Index>(k), basis.cols());
  Parts parts;
  double energy = 0;
  for (int iteration = 0; iteration < limits.iterations; ++iteration) {
    const auto y = to_inputs(basis);
    parts = parts_of(y);
    const double found = parts.values.head(leading).squaredNorm();
    if (found - energy <= limits.converged * found) break;
    energy = found;
    if (iteration + 1 < limits.iterations) basis = orthonormal(to_outputs(y));
  }
  return {basis * parts.turned.leftCols(leading), parts.right.leftCols(leading), parts.values.head(leading)};
}

}  // namespace winnow::repair
