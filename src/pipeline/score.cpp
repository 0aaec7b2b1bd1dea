#include "winnow/pipeline/score.hpp"

#include <optional>
#include <utility>

#include "module_scorer.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/journal.hpp"

namespace winnow::pipeline {

Scores score_modules(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
                     comm::Communicator& team, comm::Communicator& world, Journal& journal, StageClock& clock) {
  Scores scores;
  if (modules.empty()) return scores;
  Progress progress;
  progress.modules = modules.size();
  for (const auto module : modules) progress.bytes += inputs.tasks[module].bytes();
  const auto between_slabs = [&] {
    comm::stop_if_peer_failed(world);
    journal.keep();
  };
  std::optional<ModuleScorer> scorer;
  comm::step_together(team, [&] {
    if (team.rank() == 0) journal.open(world.rank());
    scorer.emplace(inputs, modules, options, team, world, between_slabs, clock);
  });
  for (const auto module : modules) {
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
  comm::step_together(team, [&] { journal.finish(); });
  return scores;
}

}  // namespace winnow::pipeline
