// What is said of a report's verdicts as a whole.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::report {

/// What a script that asks for findings should know: adapters that are for review because too few of so many are as
/// unusual, in one line; empty if there are none, something was blocked, or the bank can block nothing.
std::string unblocked_warning(const Report& report);

std::size_t count_of(const Report& report, verdict::Verdict verdict);

/// The place of an adapter's verdict in verdict::kVerdicts. 0 without verdicts.
std::size_t verdict_place(const Report& report, std::size_t adapter);

/// Adapters by their verdict, as verdict::kVerdicts orders them, and among those of one by what ranks adapters. Empty
/// without verdicts.
std::vector<std::size_t> adapters_by_verdict(const Report& report);

/// Whether some adapter must not be served: its verdict is block or incomplete, or it has one and is an ablation.
bool has_findings(const Report& report);

/// "3 of 40 adapters did not pass: block 2, review 1, incomplete 0, pass 37". Of a report without verdicts what would
/// give it some.
std::string verdict_summary(const Report& report);

/// What the bank can claim of this zoo, in one line. Empty without verdicts.
std::string verdict_claim(const Report& report);

}  // namespace winnow::report
