// A bank: an earlier report of harmless adapters of the same model, compared with the same probes and checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "winnow/input/probe_input.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/report/report.hpp"

namespace winnow::judge {

/// Of the adapters of that report that were scored.
struct Bank {
  std::string path;
  std::vector<probes::Effect> effects;  ///< [probes]
  std::vector<report::BankRow> members;
  std::vector<double> units;            ///< [probes]: norm of each over the modules of that report, not 0
  std::vector<double> pulls;            ///< [probes][members], in the order of `probes` and these units
  std::vector<double> log_norms;        ///< [members]
  std::vector<report::Metric> numbers;  ///< [members] each: of methods::kBankNumbers those of the run's operand
  std::map<std::string, std::pair<std::string, std::string>> digests;  ///< of base and aligned weights, by module
};

/// What a run compares its adapters with beside probes.
enum class Operand : std::uint8_t { none, pair, weight };

/// Of a run with these checkpoints and sums, bits of methods::Sum, and with a `scaling` of none or peft. Throws
/// Error(invalid_input) for a report of adapters that were scaled otherwise, one that lacks one of the probes (compared
/// by content) or, without probes, the checkpoints, and one of fewer than metrics::kSmallestBank adapters.
Bank read_bank(const std::string& path, const std::vector<input::ProbeInput>& probes, Operand operand,
               std::uint32_t sums, const std::string& scaling);

/// From which bank_deviation on one adapter, audited by itself and no member, is called more than `pass`.
struct Threshold {
  double above = std::numeric_limits<double>::quiet_NaN();  ///< any larger deviation is; this one is not
  bool blocks = false;  ///< it gets `block`; with a bank too small for the rate `review`
};
/// At an error rate `level`. NaN if nothing is known of any member.
Threshold threshold(const Bank& bank, double level);

/// Throws Error(invalid_input) if the bank was compared with other weights than the report, or has none of its modules.
void require_same_weights(const Bank& bank, const report::Report& report);

/// What a report compares its adapters with, in the order of methods/bank.cpp: the cosine with each probe on the side
/// of harm, log ||dW||, then its numbers of the bank. Empty without one.
metrics::Bank bank_of(const report::Report& report);

}  // namespace winnow::judge
