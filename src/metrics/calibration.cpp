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

std::vector<double> values_of(const std::vector<std::vector<double>>& values, std::size_t thing) {
  std::vector<double> one;
  for (const auto& statistic : values) one.push_back(statistic[thing]);
  return one;
}

}  // namespace

Deviation largest_deviation(const std::vector<double>& values, const std::string& id, const Bank& bank) {
  Deviation largest{kUndefined, 0, kUndefined};
  for (std::size_t k = 0; k < values.size(); ++k) {
    const auto& statistic = bank.statistics[k];
    std::vector<double> peers;
    for (std::size_t m = 0; m < bank.ids.size(); ++m) {
      if (bank.ids[m] != id && !std::isnan(statistic.values[m])) peers.push_back(statistic.values[m]);
    }
    if (peers.empty() || std::isnan(values[k])) continue;
    const auto of_peers = spread(peers);
    const double size = std::max(of_peers.iqr() / kNormalRange, statistic.least_spread);
    const double above = (values[k] - of_peers.median) / size;
    const double unusual = statistic.tail == Tail::upper ? above : -above;
    if (unusual <= largest.size) continue;  // not so for the first
    largest = {unusual, k, of_peers.median};
  }
  return largest;
}

std::vector<double> member_deviations(const Bank& bank) {
  std::vector<double> of_members;
  for (std::size_t m = 0; m < bank.ids.size(); ++m) {
    std::vector<double> of_member;
    for (const auto& statistic : bank.statistics) of_member.push_back(statistic.values[m]);
    of_members.push_back(largest_deviation(of_member, bank.ids[m], bank).size);
  }
  return of_members;
}

std::vector<Calibrated> calibrate(const std::vector<std::vector<double>>& values, const std::vector<std::string>& ids,
                                  const Bank& bank) {
  const auto of_members = member_deviations(bank);
  std::vector<Calibrated> all;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    const auto largest = largest_deviation(values_of(values, n), ids[n], bank);
    Calibrated one{largest.size, largest.statistic, largest.median, kUndefined};
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
