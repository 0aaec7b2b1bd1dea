// A bank: an earlier report of harmless adapters, compared with the same probes.
#pragma once

#include <string>
#include <vector>

#include "winnow/input/probe_input.hpp"
#include "winnow/report/report.hpp"

namespace winnow::judge {

/// Of the adapters of that report that were scored.
struct BankCosines {
  std::vector<report::BankRow> members;
  std::vector<double> cosines;  ///< [probes][members], in the order of `probes`
};

/// Throws Error(invalid_input) for a report that lacks one of the probes (compared by content), or has fewer than
/// metrics::kSmallestBank adapters.
BankCosines read_bank(const std::string& path, const std::vector<input::ProbeInput>& probes);

}  // namespace winnow::judge
