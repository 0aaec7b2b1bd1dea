// Products with probes by attention head, from the scores of modules.
#pragma once

#include "winnow/base/log.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/report/report.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::judge {

/// Of a report that has its modules, adapters and products with probes: what is not known there is not known of a head.
/// The order of `scores` does not matter. A warning tells of modules of attention without heads.
report::Heads heads_of(const input::Inputs& inputs, const score::Scores& scores, const report::Report& report,
                       const base::Log& log);

/// The order of an audit, each once: the same for whichever modules of an attention there are.
void sort_rows(report::Heads& heads);

}  // namespace winnow::judge
