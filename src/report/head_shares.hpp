// Which attention heads of an adapter do most along its probes, of a report that tells products by head.
//
// A head's product is measured along each probe at length 1, as probe_dot is (src/methods/probe.cpp), and a safe probe
// counts with the opposite sign. If any of the probes is a direction, directions alone count: on the laboratory's
// models they name the head that does the harm far more often than red-team adapters do (src/report/README.md). Private
// to src/report.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "analysis.hpp"

namespace winnow::report {

struct HeadShare {
  std::size_t attention = 0;  ///< in Heads::attention
  std::size_t head = 0;
  double share = 0;  ///< in (0, 1]
};

struct HeadShares {
  std::vector<double> values;      ///< L x H: mean over the probes, over the largest; NaN if not known, at most 1
  std::vector<HeadShare> largest;  ///< those that run along the probes, the largest share first; they add up to 1
  bool of_directions = false;      ///< else of probes that are adapters
};

/// How many of those that do most are told one by one.
inline constexpr std::size_t kLargestHeads = 20;

/// None without --heads, and of an adapter of which no head runs along a probe.
std::optional<HeadShares> head_shares(const Report& report, const AdapterView& adapter);

/// "layer 12 head 3"; the attention's name in place of the layer if the report has several of that number.
std::string head_name(const Heads& heads, const HeadShare& head);

/// In one sentence, for people.
std::string heads_text(const Heads& heads, const HeadShares& shares);

/// Which modules of attention are in no head, and why; empty if all are.
std::string headless_text(const Report& report);

}  // namespace winnow::report
