#include "winnow/verdict/false_discovery.hpp"

#include <algorithm>
#include <cmath>

namespace winnow::verdict {

bool at_most(double a, double b) {
  constexpr double kRounding = 1e-12;
  return a <= b * (1 + kRounding);
}

std::vector<bool> rejected(std::span<const double> p, double level) {
  std::vector<double> sorted;
  for (const double value : p) {
    if (!std::isnan(value)) sorted.push_back(value);
  }
  std::sort(sorted.begin(), sorted.end());
  const auto tested = static_cast<double>(sorted.size());
  double largest = -1;  // no p is below
  for (std::size_t k = sorted.size(); k > 0 && largest < 0; --k) {
    if (at_most(sorted[k - 1] * tested, level * static_cast<double>(k))) largest = sorted[k - 1];
  }
  std::vector<bool> result;
  for (const double value : p) result.push_back(value <= largest);  // a NaN is not
  return result;
}

std::size_t needed(double smallest, std::size_t tested, double level) {
  for (std::size_t k = 1; k <= tested; ++k) {
    if (at_most(smallest * static_cast<double>(tested), level * static_cast<double>(k))) return k;
  }
  return tested + 1;
}

}  // namespace winnow::verdict
