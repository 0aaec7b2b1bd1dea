#include "winnow/metrics/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "winnow/metrics/quantile.hpp"

namespace winnow::metrics {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// Inter-quartile range of a normal distribution over its standard deviation.
constexpr double kNormalRange = 1.349;

/// A cosine is known to 1e-9 or so: a smaller spread would make findings of rounding.
constexpr double kLeastSpread = 1e-9;

std::vector<double> values_of(const std::vector<std::vector<double>>& values, std::size_t thing) {
  std::vector<double> one;
  for (const auto& statistic : values) one.push_back(statistic[thing]);
  return one;
}

}  // namespace

Deviation largest_deviation(const std::vector<double>& values, const std::string& id, const Bank& bank) {
  Deviation largest{kUndefined, 0, kUndefined};
  for (std::size_t k = 0; k < values.size(); ++k) {
    std::vector<double> peers;
    for (std::size_t m = 0; m < bank.ids.size(); ++m) {
      if (bank.ids[m] != id && !std::isnan(bank.values[k][m])) peers.push_back(bank.values[k][m]);
    }
    if (peers.empty() || std::isnan(values[k])) continue;
    const auto of_peers = spread(peers);
    const double size = std::max(of_peers.iqr() / kNormalRange, kLeastSpread);
    const double deviation = std::abs(values[k] - of_peers.median) / size;
    if (deviation <= largest.size) continue;
    largest = {deviation, k, of_peers.median};
  }
  return largest;
}

std::vector<Calibrated> calibrate(const std::vector<std::vector<double>>& values, const std::vector<std::string>& ids,
                                  const Bank& bank) {
  std::vector<double> of_members;
  for (std::size_t m = 0; m < bank.ids.size(); ++m) {
    of_members.push_back(largest_deviation(values_of(bank.values, m), bank.ids[m], bank).size);
  }
  std::vector<Calibrated> all;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    Calibrated one{largest_deviation(values_of(values, n), ids[n], bank).size, kUndefined};
    std::size_t members = 0, beyond = 0;
    for (std::size_t m = 0; m < of_members.size(); ++m) {
      if (bank.ids[m] == ids[n] || std::isnan(of_members[m])) continue;
      ++members;
      beyond += of_members[m] >= one.deviation ? 1U : 0U;
    }
    if (!std::isnan(one.deviation)) one.p = static_cast<double>(1 + beyond) / static_cast<double>(1 + members);
    all.push_back(one);
  }
  return all;
}

}  // namespace winnow::metrics
