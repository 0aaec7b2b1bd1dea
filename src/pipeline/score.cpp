#include "winnow/pipeline/score.hpp"

#include <optional>

#include "module_scorer.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::pipeline {

Scores score_modules(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
                     ComputePlace& where, comm::Communicator& team, comm::Communicator& world, StageClock& clock) {
  Scores scores;
  if (modules.empty()) return scores;
  Progress progress;
  progress.modules = modules.size();
  for (const auto module : modules) progress.bytes += inputs.tasks[module].bytes();
  std::optional<ModuleScorer> scorer;
  comm::step_together(team, [&] { scorer.emplace(inputs, modules, options, where, team, world, clock); });
  for (const auto module : modules) {
    scorer->score(module, scores);
    comm::step_together(team, [&] {
      ++progress.modules_done;
      progress.bytes_done += inputs.tasks[module].bytes();
      if (options.progress) options.progress(progress);
    });
  }
  scorer->count_bytes();
  return scores;
}

}  // namespace winnow::pipeline
