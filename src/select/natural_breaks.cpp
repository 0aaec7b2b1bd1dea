#include "natural_breaks.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

#include "winnow/metrics/quantile.hpp"

namespace winnow::select {
namespace {

constexpr std::size_t kFewestForTwo = 8;
constexpr int kMostSteps = 1000;
constexpr double kSettled = 1e-12;  // relative change of the log-likelihood
constexpr int kMoreParameters = 2;  // of two distributions: a mean and a weight

/// Two normal distributions of equal variance, of scores that were brought to mean 0 and variance 1.
struct Mixture {
  double lower, upper;  // means
  double variance;
  double share;  // of the upper

  // Where both are as probable.
  double boundary() const { return (lower + upper) / 2 + variance / (upper - lower) * std::log((1 - share) / share); }
};

// The split of largest variance between its parts (Otsu 1979).
Mixture first_guess(std::span<const double> x) {
  const auto n = static_cast<double>(x.size());
  double below = 0, best = -1;
  Mixture guess{0, 0, 1, 0.5};
  for (std::size_t i = 1; i < x.size(); ++i) {
    below += x[i - 1];  // all together are 0
    const auto count = static_cast<double>(i);
    const double lower = below / count, upper = -below / (n - count);
    const double between = count * (n - count) * (upper - lower) * (upper - lower);
    if (between > best) {
      best = between;
      guess = {lower, upper, 1, (n - count) / n};
    }
  }
  guess.variance = std::max(1 - guess.share * (1 - guess.share) * std::pow(guess.upper - guess.lower, 2), 1e-12);
  return guess;
}

// One step; returns the log-likelihood before it.
double improve(Mixture& mixture, std::span<const double> x) {
  const auto n = static_cast<double>(x.size());
  const double logarithm = -0.5 * std::log(2 * std::numbers::pi * mixture.variance);
  double likelihood = 0, weight = 0, upper = 0, lower = 0;
  std::vector<double> of_upper;
  of_upper.reserve(x.size());
  for (const double value : x) {
    const auto term = [&](double share, double mean) {
      return std::log(share) + logarithm - (value - mean) * (value - mean) / (2 * mixture.variance);
    };
    const double a = term(1 - mixture.share, mixture.lower), b = term(mixture.share, mixture.upper);
    const double most = std::max(a, b), sum = most + std::log(std::exp(a - most) + std::exp(b - most));
    const double p = std::exp(b - sum);
    likelihood += sum;
    weight += p;
    upper += p * value;
    lower += (1 - p) * value;
    of_upper.push_back(p);
  }
  mixture.share = std::clamp(weight / n, 1e-12, 1 - 1e-12);
  mixture.upper = upper / std::max(weight, 1e-300);
  mixture.lower = lower / std::max(n - weight, 1e-300);
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    squares += of_upper[i] * std::pow(x[i] - mixture.upper, 2) + (1 - of_upper[i]) * std::pow(x[i] - mixture.lower, 2);
  }
  mixture.variance = std::max(squares / n, 1e-12);
  return likelihood;
}

}  // namespace

std::optional<double> widest_gap(std::span<const double> ordered, double widths) {
  if (ordered.size() < 2) return {};
  double widest = 0;
  std::optional<double> lower_end;
  for (std::size_t i = (ordered.size() - 1) / 2; i + 1 < ordered.size(); ++i) {
    const double gap = ordered[i + 1] - ordered[i];
    if (gap > 0 && gap >= widest) {
      widest = gap;
      lower_end = ordered[i];
    }
  }
  const auto spread = metrics::spread(ordered);
  if (!(widest >= widths * spread.iqr())) return {};
  return lower_end;
}

std::optional<double> between_two_normals(std::span<const double> ordered) {
  if (ordered.size() < kFewestForTwo) return {};
  const auto n = static_cast<double>(ordered.size());
  // A unit that fits, so that squares of very large or small scores are numbers.
  const double unit = std::max(std::abs(ordered.front()), std::abs(ordered.back()));
  if (unit == 0) return {};
  std::vector<double> x(ordered.begin(), ordered.end());
  double mean = 0, squares = 0;
  for (double& value : x) mean += (value /= unit) / n;
  for (double& value : x) {
    value -= mean;
    squares += value * value;
  }
  const double deviation = std::sqrt(squares / n);
  if (!(deviation > 1e-14)) return {};  // all are the same but for rounding
  for (double& value : x) value /= deviation;

  auto mixture = first_guess(x);
  double likelihood = improve(mixture, x);
  for (int step = 1; step < kMostSteps; ++step) {
    const double next = improve(mixture, x);
    const bool settled = std::abs(next - likelihood) <= kSettled * n;
    likelihood = next;
    if (settled) break;
  }
  const double of_one = -0.5 * n * (std::log(2 * std::numbers::pi) + 1);
  if (!(2 * (likelihood - of_one) > kMoreParameters * std::log(n)) || !(mixture.upper > mixture.lower)) return {};
  return (mixture.boundary() * deviation + mean) * unit;
}

}  // namespace winnow::select
