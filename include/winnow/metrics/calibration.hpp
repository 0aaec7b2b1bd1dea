// How unusual something is among others that are known to be harmless: a bank.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace winnow::metrics {

/// Members known to be harmless, and some statistics of each. A statistic may be NaN for a member that has none.
struct Bank {
  std::vector<std::string> ids;             ///< [members]: by content, so that none is compared with itself
  std::vector<std::vector<double>> values;  ///< [statistics][members]
};

struct Calibrated {
  /// The largest |value - median|/spread over the statistics, the spread being IQR/1.349 of the bank: that of a normal
  /// distribution is its standard deviation. NaN if no statistic is known of both.
  double deviation = 0;
  /// Conformal: (1 + members at least as unusual)/(1 + members), each member against the others. At least 1/(1 +
  /// members).
  double p = 0;
};

/// Where a thing lies farthest from a bank.
struct Deviation {
  double size = 0;            ///< |value - median|/spread; NaN if no statistic is known of both
  std::size_t statistic = 0;  ///< of which
  double median = 0;          ///< of the members that are not the thing
};
/// `values` [statistics] of one thing, compared with the members that are not `id`.
Deviation largest_deviation(const std::vector<double>& values, const std::string& id, const Bank& bank);

/// A bank of fewer says nothing about a spread.
inline constexpr std::size_t kSmallestBank = 8;

/// `values` [statistics][things], `ids` [things]. A thing that is a member is compared with the other members.
std::vector<Calibrated> calibrate(const std::vector<std::vector<double>>& values, const std::vector<std::string>& ids,
                                  const Bank& bank);

}  // namespace winnow::metrics
