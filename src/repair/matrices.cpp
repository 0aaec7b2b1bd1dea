#include "matrices.hpp"

#include <fmt/format.h>

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <utility>

#include "svd.hpp"
#include "winnow/base/error.hpp"
#include "winnow/repair/deflect.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair {

using base::Error;
using base::ErrorKind;

namespace {

Error too_large() {
  return Error(ErrorKind::invalid_input, "the update is too large to be computed with")
      .expected("factors whose products float64 can hold");
}

}  // namespace

View view(std::span<const double> values, std::uint64_t rows, std::uint64_t columns) {
  if (values.size() != rows * columns) {
    throw Error(ErrorKind::invalid_input, "a matrix of the wrong size")
        .expected(fmt::format("{} x {} numbers, found {}", rows, columns, values.size()));
  }
  return {values.data(), static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

std::vector<double> row_major(const Matrix& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

Balance balance(double left_norm, double right_norm, int sum) {
  if (!std::isfinite(left_norm) || !std::isfinite(right_norm)) throw too_large();
  const int left = std::ilogb(left_norm), right = std::ilogb(right_norm);
  const int of_left = (sum + left - right) / 2;
  return {of_left, sum - of_left};
}

double size(const Factors& factors) {
  const auto b = b_of(factors), a = a_of(factors);
  double sum = 0;
  for (Eigen::Index j = 0; j < b.cols(); ++j) sum += b.col(j).stableNorm() * a.row(j).stableNorm();
  return sum;
}

namespace {

/// Both factors with columns of about the same length, the longest near 1, without those that are zero.
struct Balanced {
  Eigen::MatrixXd b, at;  ///< o x n, i x n
  int exponent = 0;       ///< B * A = 2^exponent * b * at^T
  double size = 0;        ///< of b * at^T
};

double scaled(double value, int exponent) { return std::ldexp(value, exponent); }

Balanced balanced(const Factors& factors) {
  const auto b = b_of(factors), a = a_of(factors);
  struct Component {
    Eigen::Index column;
    double left, right;
  };
  std::vector<Component> components;
  int largest = 0;
  for (Eigen::Index j = 0; j < b.cols(); ++j) {
    const double left = b.col(j).stableNorm(), right = a.row(j).stableNorm();
    if (left == 0 || right == 0) continue;
    if (!std::isfinite(left) || !std::isfinite(right)) throw too_large();
    const int exponent = std::ilogb(left) + std::ilogb(right);
    largest = components.empty() ? exponent : std::max(largest, exponent);
    components.push_back({j, left, right});
  }
  Balanced result;
  const auto count = static_cast<Eigen::Index>(components.size());
  result.b.resize(b.rows(), count);
  result.at.resize(a.cols(), count);
  result.exponent = largest;
  for (Eigen::Index n = 0; n < count; ++n) {
    const auto& [column, left, right] = components[static_cast<std::size_t>(n)];
    const auto shift = balance(left, right, largest);
    result.b.col(n) = b.col(column).unaryExpr([&](double x) { return scaled(x, -shift.left); });
    result.at.col(n) = a.row(column).transpose().unaryExpr([&](double x) { return scaled(x, -shift.right); });
    result.size += result.b.col(n).norm() * result.at.col(n).norm();
  }
  return result;
}

/// The first columns of Q times `core`.
Eigen::MatrixXd from_core(const Eigen::HouseholderQR<Eigen::MatrixXd>& qr, const Eigen::MatrixXd& core) {
  Eigen::MatrixXd result = Eigen::MatrixXd::Zero(qr.rows(), core.cols());
  result.topRows(core.rows()) = core;
  result.applyOnTheLeft(qr.householderQ());
  return result;
}

Eigen::MatrixXd triangle(const Eigen::HouseholderQR<Eigen::MatrixXd>& qr) {
  const auto rows = std::min(qr.rows(), qr.cols());
  return qr.matrixQR().topRows(rows).triangularView<Eigen::Upper>();
}

struct Core {
  Eigen::MatrixXd left, right;
  Eigen::VectorXd values;
};

/// Divide and conquer of Eigen 3.4 is off by 1e-7 if columns differ by more than 1e-30 in size, and says nothing.
/// One-sided rotations are not, and take twenty times as long at rank 256.
Core decomposed(const Eigen::MatrixXd& core) {
  constexpr auto kThin = Eigen::ComputeThinU | Eigen::ComputeThinV;
  const Eigen::BDCSVD<Eigen::MatrixXd> fast(core, kThin);
  Core found{fast.matrixU(), fast.matrixV(), fast.singularValues()};
  const double error = (found.left * found.values.asDiagonal() * found.right.transpose() - core).norm();
  if (error <= kRounding * core.norm()) return found;
  const Eigen::JacobiSVD<Eigen::MatrixXd> exact(core, kThin);
  return {exact.matrixU(), exact.matrixV(), exact.singularValues()};
}

}  // namespace

Decomposition decompose(const Factors& factors) {
  const auto parts = balanced(factors);
  Decomposition result;
  result.exponent = parts.exponent;
  result.left.resize(parts.b.rows(), 0);
  result.right.resize(parts.at.rows(), 0);
  if (parts.b.cols() == 0) return result;
  const Eigen::HouseholderQR<Eigen::MatrixXd> left(parts.b), right(parts.at);
  const Eigen::MatrixXd core = triangle(left) * triangle(right).transpose();
  const auto svd = decomposed(core);
  const auto& values = svd.values;
  Eigen::Index count = 0;
  while (count < values.size() && values[count] > kRounding * parts.size) ++count;
  result.values = values.head(count);
  result.left = from_core(left, svd.left.leftCols(count));
  result.right = from_core(right, svd.right.leftCols(count));
  return result;
}

void require_same_shape(const Factors& update, const WeightProducts& step) {
  if (update.out_features == step.out_features() && update.in_features == step.in_features()) return;
  throw Error(ErrorKind::invalid_input, "weights of a module of another shape")
      .expected(fmt::format("[{}, {}], found [{}, {}]", update.out_features, update.in_features, step.out_features(),
                            step.in_features()));
}

Norm norm(const Factors& factors) {
  const auto parts = decompose(factors);
  return {parts.values.norm(), parts.exponent};
}

void check_strength(double lambda) {
  if (lambda > 0 && lambda <= kMostStrength) return;
  throw Error(ErrorKind::usage, fmt::format("lambda is {:g}", lambda))
      .expected(fmt::format("a number above 0, at most {:g}", kMostStrength));
}

Factors with_columns(const Factors& factors, const Matrix& b, const Matrix& a) {
  Factors result = factors;
  result.rank += static_cast<std::uint64_t>(b.cols());
  Matrix wide(static_cast<Eigen::Index>(result.out_features), static_cast<Eigen::Index>(result.rank));
  wide << b_of(factors), b;
  result.b = row_major(wide);
  result.a.insert(result.a.end(), a.data(), a.data() + a.size());
  return result;
}

Factors with_update(const Factors& factors, const Factors& other, double ratio) {
  Matrix b(static_cast<Eigen::Index>(other.out_features), static_cast<Eigen::Index>(other.rank));
  Matrix a(static_cast<Eigen::Index>(other.rank), static_cast<Eigen::Index>(other.in_features));
  Eigen::Index count = 0;
  for (Eigen::Index j = 0; j < b.cols(); ++j) {
    const double left = std::abs(ratio) * b_of(other).col(j).stableNorm(), right = a_of(other).row(j).stableNorm();
    if (left == 0 || right == 0) continue;
    const auto shift = balance(left, right, 0);
    b.col(count) = b_of(other).col(j).unaryExpr([&](double x) { return std::ldexp(ratio * x, -shift.left); });
    a.row(count) = a_of(other).row(j).unaryExpr([&](double x) { return std::ldexp(x, -shift.right); });
    ++count;
  }
  return with_columns(factors, b.leftCols(count), a.topRows(count));
}

Factors with_triplets(const Factors& factors, const View& u, const Eigen::VectorXd& values, const View& v) {
  Matrix b(u.rows(), values.size()), a(values.size(), v.rows());
  Eigen::Index count = 0;
  for (Eigen::Index j = 0; j < values.size(); ++j) {
    if (values[j] == 0) continue;
    const double root = std::sqrt(std::abs(values[j]));
    b.col(count) = u.col(j) * std::copysign(root, values[j]);
    a.row(count) = v.col(j).transpose() * root;
    ++count;
  }
  if (count == 0) return factors;
  const auto whole = with_columns(factors, b.leftCols(count), a.topRows(count));
  check_result(whole);
  return of_smallest_rank(whole);
}

void check_result(const Factors& factors) {
  if (b_of(factors).allFinite() && a_of(factors).allFinite()) return;
  throw too_large();
}

}  // namespace winnow::repair
