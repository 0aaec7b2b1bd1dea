#include "winnow/repair/weight_directions.hpp"

#include <algorithm>
#include <cmath>

#include "leading_parts.hpp"

namespace winnow::repair {
namespace {

constexpr IterationLimits kLimits{.iterations = 60, .converged = 1e-14};
/// Of singular values, whose squares are energies.
constexpr double kLeastValue = 1e-3;

}  // namespace

Triplets leading_triplets(const WeightProducts& step, std::uint64_t k) {
  const auto out = step.out_features(), in = step.in_features();
  const auto columns = std::min({2 * k + 16, out, in});
  Triplets result;
  if (columns == 0 || k == 0 || step.norm() == 0) return result;
  const auto to_inputs = [&](const Eigen::MatrixXd& b) {
    return Matrix(view(step.times_outputs(row_major(b), columns), in, columns));
  };
  const auto to_outputs = [&](const Matrix& y) {
    // Near 1: only the span counts, and nothing may leave the range of float64.
    return Matrix(view(step.times_inputs(row_major(y / step.norm()), columns), out, columns) / step.norm());
  };
  const auto found = leading_parts(random_start(out, columns, step.name()), to_inputs, to_outputs, k, kLimits);
  const auto count = found.above(kLeastValue);
  result.count = static_cast<std::uint64_t>(count);
  result.values.assign(found.values.begin(), found.values.begin() + count);
  result.left = row_major(found.left.leftCols(count));
  result.right = row_major(found.right.leftCols(count));
  return result;
}

}  // namespace winnow::repair
