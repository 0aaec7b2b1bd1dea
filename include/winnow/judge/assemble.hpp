// The coordinator's part: scores of all ranks in, a report out that is to be judged. Pure.
#pragma once

#include <cstdint>

#include "winnow/base/log.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/judge/bank.hpp"
#include "winnow/report/report.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::judge {

/// Fills modules, adapters, probes, the bank to compare with and the metrics of single layers; for judge(). `sums` are
/// those of the run, bits of methods::Sum. Adapters with a factor that is not finite become quarantined here (with
/// `strict`: throws Error(invalid_input)). Throws Error(invalid_input) if the two checkpoints do not differ in any
/// module: there is no alignment to judge by. The order of `scores` does not matter.
report::Report assemble(const input::Inputs& inputs, const score::Scores& scores, Bank bank, std::uint32_t sums,
                        bool strict, const base::Log& log);

}  // namespace winnow::judge
