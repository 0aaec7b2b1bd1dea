// The adapters of a report: what was judged of each, and what was not and why. Private to src/judge.
#pragma once

#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/report/report.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::judge {

/// An adapter with a layer at fault is quarantined with a warning, or with `strict` throws Error(invalid_input).
std::vector<report::AdapterRow> adapter_rows(const input::Inputs& inputs, const score::Scores& scores, bool strict,
                                             const base::Log& log);

}  // namespace winnow::judge
