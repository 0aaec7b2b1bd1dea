#include "winnow/pipeline/score.hpp"

#include <optional>
#include <utility>

#include "module_scorer.hpp"
#include "stop_request.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/journal.hpp"

namespace winnow::pipeline {

void score_modules(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
                   comm::Communicator& team, comm::Communicator& world, Journal& journal, StopRequest& stop,
                   StageClock& clock, Scores& scores) {
  if (modules.empty()) return;
  Progress progress;
  progress.modules = modules.size();
  for (const auto module : modules) progress.bytes += inputs.tasks[module].bytes();
  const auto between_slabs = [&] {
    comm::stop_if_peer_failed(world);
    stop.leave_if_overdue();
    journal.keep();
  };
  std::optional<ModuleScorer> scorer;
  comm::step_together(team, [&] {
    if (team.rank() == 0) journal.open(world.rank());
    scorer.emplace(inputs, modules, options, team, world, between_slabs, clock);
  });
  for (const auto module : modules) {
    if (team.maximum(stop.made() ? 1 : 0) != 0) break;  // a team stops after the same module
    Scores one;
    scorer->score(module, one);
    comm::step_together(team, [&] {
      if (team.rank() == 0) journal.add(one);
      scores.append(std::move(one));
      ++progress.modules_done;
      progress.bytes_done += inputs.tasks[module].bytes();
      if (options.progress) options.progress(progress);
    });
  }
  scorer->count_bytes();
}

}  // namespace winnow::pipeline
