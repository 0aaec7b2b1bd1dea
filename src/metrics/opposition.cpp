#include "winnow/metrics/opposition.hpp"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <utility>

namespace winnow::metrics {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Steps of l: the best one is cos/|x|_Q, between the sizes of Q. An ablation below kFirst may be told a little too
/// small.
constexpr double kFirst = 0.003, kLast = 3, kStep = 1.4;
constexpr double kSmallestSize = 1e-10;  // of Q beside its largest: 1e-4 are sigma's, the rest W's
constexpr double kLeastWritten = 1e-6;   // of ||W^T*u||^2 beside the largest: float32 products know 1e-7 of that root
constexpr std::size_t kRefined = 2;      // minima among the steps that are looked at closely
constexpr int kSections = 18;            // l to 1e-4 of itself, and so the minimum to 1e-8

Eigen::Map<const Matrix> square(std::span<const double> values, std::uint64_t size) {
  const auto n = static_cast<Eigen::Index>(size);
  return {values.data(), n, n};
}

Eigen::Map<const Eigen::VectorXd> vector(std::span<const double> values) {
  return {values.data(), static_cast<Eigen::Index>(values.size())};
}

std::vector<double> values_of(const Matrix& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

}  // namespace

Opposition::Opposition(std::span<const double> along, std::span<const double> written, std::span<const double> sigma)
    : size_(sigma.size()) {
  const Eigen::VectorXd inverse = vector(sigma).cwiseInverse();
  const Matrix turned = square(along, size_) * inverse.asDiagonal();
  c_ = values_of(0.5 * (turned + turned.transpose()));
  q_ = values_of(inverse.asDiagonal() * square(written, size_) * inverse.asDiagonal());
  inverse_.assign(inverse.begin(), inverse.end());
  if (size_ > 0) most_written_ = square(written, size_).diagonal().maxCoeff();
}

bool Opposition::is_finite() const { return square(c_, size_).allFinite() && square(q_, size_).allFinite(); }

double Opposition::at(std::span<const double> direction) const {
  const auto x = vector(direction);
  const double written = x.dot(square(q_, size_) * x);
  const double length = vector(inverse_).cwiseProduct(x).squaredNorm();
  if (!(written > kLeastWritten * most_written_ * length)) return 0;
  return -x.dot(square(c_, size_) * x) / std::sqrt(written);
}

double Opposition::of_singular_vectors() const {
  double most = 0;
  std::vector<double> unit(size_, 0.0);
  for (std::uint64_t j = 0; j < size_; ++j) {
    unit[j] = 1;
    most = std::max(most, at(unit));
    unit[j] = 0;
  }
  return most;
}

/// 1 - cos^2 of the best x for this l, and x if it is wanted.
double Opposition::least(double l, std::vector<double>* x) const {
  const auto size = static_cast<Eigen::Index>(size_);
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(
      Matrix::Identity(size, size) + 2 * l * square(c_, size_) + l * l * square(q_, size_),
      x == nullptr ? Eigen::EigenvaluesOnly : Eigen::ComputeEigenvectors);
  if (solver.info() != Eigen::Success) return 1;
  if (x != nullptr) {
    const Eigen::VectorXd best = solver.eigenvectors().col(0);
    x->assign(best.begin(), best.end());
  }
  return solver.eigenvalues()[0];
}

/// The minimum between the neighbours of step l, by golden sections.
Opposition::Found Opposition::best_near(double l) const {
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double low = l / kStep, high = l * kStep;
  double left = high - ratio * (high - low), right = low + ratio * (high - low);
  double at_left = least(left, nullptr), at_right = least(right, nullptr);
  for (int section = 0; section < kSections; ++section) {
    if (at_left < at_right) {
      high = std::exchange(right, left);
      at_right = at_left;
      left = high - ratio * (high - low);
      at_left = least(left, nullptr);
    } else {
      low = std::exchange(left, right);
      at_left = at_right;
      right = low + ratio * (high - low);
      at_right = least(right, nullptr);
    }
  }
  Found found;
  least(0.5 * (low + high), &found.x);
  found.value = found.x.empty() ? 0 : at(found.x);
  return found;
}

Opposition::Found Opposition::over_span() const {
  Found most;
  std::vector<double> unit(size_, 0.0);
  for (std::uint64_t j = 0; j < size_; ++j) {
    unit[j] = 1;
    if (const double value = at(unit); value > most.value) most = {value, unit};
    unit[j] = 0;
  }
  const Eigen::SelfAdjointEigenSolver<Matrix> sizes(square(q_, size_), Eigen::EigenvaluesOnly);
  const double largest = sizes.info() == Eigen::Success ? sizes.eigenvalues()[static_cast<Eigen::Index>(size_) - 1] : 0;
  if (!(largest > 0)) return most;
  const double smallest = std::max(sizes.eigenvalues()[0], kSmallestSize * largest);
  std::vector<double> steps, found;
  const double first = kFirst / std::sqrt(largest), last = kLast / std::sqrt(smallest);
  const int count = 1 + static_cast<int>(std::ceil(std::log(last / first) / std::log(kStep)));
  for (int step = 0; step < count; ++step) {
    steps.push_back(first * std::pow(kStep, step));
    found.push_back(least(steps.back(), nullptr));
  }
  std::vector<std::pair<double, double>> minima;  // with their l
  for (std::size_t k = 0; k < found.size(); ++k) {
    const bool falls = k == 0 || found[k] <= found[k - 1], rises = k + 1 == found.size() || found[k] <= found[k + 1];
    if (falls && rises) minima.emplace_back(found[k], steps[k]);
  }
  std::sort(minima.begin(), minima.end());
  for (std::size_t k = 0; k < std::min(kRefined, minima.size()); ++k) {
    if (auto near = best_near(minima[k].second); near.value > most.value) most = std::move(near);
  }
  return most;
}

/// The best x of an l and the best l of an x in turn, which both lower the same number.
Opposition::Found Opposition::refined(Found found) const {
  constexpr int kTurns = 200;
  constexpr double kSettled = 1e-14;
  double before = 0;
  for (int turn = 0; turn < kTurns && !found.x.empty(); ++turn) {
    const auto x = vector(found.x);
    const double written = x.dot(square(q_, size_) * x);
    if (!(written > 0)) break;
    const double l = -x.dot(square(c_, size_) * x) / written;
    if (std::abs(l - before) <= kSettled * l) break;
    before = l;
    Found next;
    least(l, &next.x);
    next.value = next.x.empty() ? 0 : at(next.x);
    if (next.value < found.value - 1e-12) break;  // rounding decides
    found = std::move(next);
  }
  return found;
}

}  // namespace winnow::metrics
