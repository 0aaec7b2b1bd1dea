// The coordinator's part: scores of all ranks in, metrics over populations, selection, a report out. Pure.
#pragma once

#include "winnow/base/log.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/judge/bank.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/options.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::judge {

/// Fills modules, adapters, metrics, selection. Adapters with a factor that is not finite become quarantined here
/// (with options.strict: throws Error(invalid_input)). Throws Error(invalid_input) where the two checkpoints do not
/// differ in any module: there is no alignment to judge by. The order of `scores` does not matter.
report::Report assemble(const input::Inputs& inputs, const score::Scores& scores, const run::AuditOptions& options,
                        const base::Log& log);
/// With a bank to compare with.
report::Report assemble(const input::Inputs& inputs, const score::Scores& scores, BankCosines bank,
                        const run::AuditOptions& options, const base::Log& log);

}  // namespace winnow::judge
