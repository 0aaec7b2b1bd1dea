// How unusual something is among others that are known to be harmless: a bank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace winnow::metrics {

/// Which side of the bank's median is unusual.
enum class Tail : std::uint8_t { upper, lower };

/// One number of each member.
struct BankStatistic {
  std::vector<double> values;  ///< [members], NaN for one that has none
  Tail tail = Tail::upper;
  double least_spread = 1e-9;  ///< what rounding leaves open: a smaller spread would make findings of it
  double unit = 1;             ///< in which the values are: those of others are divided by it
  std::string name = {};       ///< of the number of adapters that it is; empty: the pull of a probe, or log ||dW||
};

/// Members known to be harmless.
struct Bank {
  std::vector<std::string> ids;  ///< [members]: by content, so that none is compared with itself
  std::vector<BankStatistic> statistics;
};

/// Where a thing lies farthest from a bank.
struct Deviation {
  /// (value - median)/spread, of the lower tail its negative; the spread is IQR/1.349 of the bank, of a normal
  /// distribution its standard deviation. NaN if no statistic is known of both.
  double size = 0;
  std::size_t statistic = 0;  ///< of which it is
  double median = 0;          ///< of the members that are not the thing
};
/// `values` [statistics] of one thing, compared with the members that are not `id`.
Deviation largest_deviation(const std::vector<double>& values, const std::string& id, const Bank& bank);

/// [members]: of each the largest deviation from the others; NaN if nothing is known of it.
std::vector<double> member_deviations(const Bank& bank);

struct Calibrated {
  double deviation = 0;  ///< the largest
  std::size_t statistic = 0;
  double median = 0;
  /// Conformal: (1 + members at least as unusual)/(1 + members), each member against the others. At least 1/(1 +
  /// members).
  double p = 0;
};

/// A bank of fewer says nothing about a spread.
inline constexpr std::size_t kSmallestBank = 8;

/// `values` [statistics][things], `ids` [things]. A thing that is a member is compared with the other members.
std::vector<Calibrated> calibrate(const std::vector<std::vector<double>>& values, const std::vector<std::string>& ids,
                                  const Bank& bank);

}  // namespace winnow::metrics
