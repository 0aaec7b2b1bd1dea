#include "winnow/watch/trend.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "winnow/metrics/quantile.hpp"
#include "winnow/verdict/false_discovery.hpp"

namespace winnow::watch {
namespace {

/// Of all orders of `count` different numbers the share in which at most `inversions` pairs fall: that many orders of n
/// numbers have k inversions as there are orders of n - 1 with k - j of them, summed over j < n.
double share_of_orders(std::size_t count, std::size_t inversions) {
  std::vector<double> shares{1};
  for (std::size_t n = 2; n <= count; ++n) {
    std::vector<double> next(shares.size() + n - 1, 0);
    double window = 0;
    for (std::size_t k = 0; k < next.size(); ++k) {
      if (k < shares.size()) window += shares[k];
      if (k >= n) window -= shares[k - n];
      next[k] = window / static_cast<double>(n);
    }
    shares = std::move(next);
  }
  double sum = 0;
  for (std::size_t k = 0; k < std::min(inversions + 1, shares.size()); ++k) sum += shares[k];
  return std::min(sum, 1.0);
}

}  // namespace

Trend trend(std::span<const Score> scores, double threshold, double rate) {
  std::vector<Score> known;
  for (const auto& score : scores) {
    if (std::isfinite(score.value)) known.push_back(score);
  }
  if (known.size() > kMostScores) known.erase(known.begin(), known.end() - kMostScores);
  std::vector<double> slopes;
  std::size_t falling = 0;  // ties count as falling: what stays the same does not rise
  for (std::size_t i = 0; i < known.size(); ++i) {
    for (std::size_t j = i + 1; j < known.size(); ++j) {
      falling += known[j].value <= known[i].value ? 1U : 0U;
      if (known[j].step > known[i].step) {
        slopes.push_back((known[j].value - known[i].value) / (known[j].step - known[i].step));
      }
    }
  }
  Trend result;
  if (slopes.empty()) return result;
  result.slope = metrics::median(slopes);
  result.p = share_of_orders(known.size(), falling);
  std::vector<double> intercepts;
  for (const auto& score : known) intercepts.push_back(score.value - result.slope * score.step);
  const double intercept = metrics::median(intercepts), first = known.front().step, last = known.back().step;
  if (result.slope > 0) result.reaches = (threshold - intercept) / result.slope;
  result.is_heading = verdict::at_most(result.p, rate) && result.reaches <= last + (last - first);
  return result;
}

}  // namespace winnow::watch
