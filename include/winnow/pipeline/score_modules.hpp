// Scores the modules of a rank one after the other, and journals each.
#pragma once

#include <cstddef>
#include <vector>

#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/journal/journal.hpp"
#include "winnow/run/compute_place.hpp"
#include "winnow/run/options.hpp"
#include "winnow/run/stage_clock.hpp"
#include "winnow/run/stop_request.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::pipeline {

/// Adds the scores of these modules (indices into Inputs::tasks), with the rest of the team if it has several ranks:
/// all of them must be given the same modules, and the first of them gets the scores and journals each module when it
/// is finished. To be called inside run_together(world). Stops early if a peer has failed or a stop is
/// requested: what is in `scores` then is finished.
void score_modules(const input::Inputs& inputs, const std::vector<std::size_t>& modules,
                   const run::AuditOptions& options, run::ComputePlace& where, comm::Communicator& team,
                   comm::Communicator& world, journal::Journal& journal, run::StopRequest& stop, run::StageClock& clock,
                   score::Scores& scores);

}  // namespace winnow::pipeline
