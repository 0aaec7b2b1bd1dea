// The modules of a report, and what is to be said of the weights there. Private to src/judge.
#pragma once

#include <cstdint>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/report/report.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::judge {

/// Warns of weights that cannot be computed with and of passes that disagree. Throws Error(invalid_input) if two
/// checkpoints differ in no module.
std::vector<report::ModuleRow> module_rows(const input::Inputs& inputs, const score::Scores& scores, std::uint32_t sums,
                                           const base::Log& log);

}  // namespace winnow::judge
