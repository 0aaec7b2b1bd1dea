#include "winnow/pipeline/score_modules.hpp"

#include <optional>
#include <utility>

#include "winnow/comm/together.hpp"
#include "winnow/score/module_scorer.hpp"

namespace winnow::pipeline {
namespace {

using input::Inputs;
using journal::Journal;
using run::AuditOptions;
using run::ComputePlace;
using run::Progress;
using run::StageClock;
using run::StopRequest;
using score::ModuleScorer;
using score::Scores;

/// What is read for it: weights, or the factors of adapters if no weights are.
std::uint64_t bytes_of(const Inputs& inputs, std::size_t module) {
  const auto& task = inputs.tasks[module];
  if (inputs.is_dense(task)) return task.all_bytes();
  std::uint64_t bytes = task.bytes();
  for (const auto& layer : inputs.layers[module]) {
    if (task.sweeps == 0) bytes += inputs.layer_bytes(task, layer);
  }
  return bytes;
}

}  // namespace

void score_modules(const Inputs& inputs, const std::vector<std::size_t>& modules, const AuditOptions& options,
                   ComputePlace& where, comm::Communicator& team, comm::Communicator& world, Journal& journal,
                   StopRequest& stop, StageClock& clock, Scores& scores) {
  if (modules.empty()) return;
  const auto sums = run::sums_of(options.read, options.measure);
  Progress progress;
  progress.modules = modules.size();
  std::size_t layers = 0;
  for (const auto module : modules) {
    progress.bytes += bytes_of(inputs, module);
    layers += inputs.layers[module].size();
  }
  if (team.rank() == 0) scores.layers.reserve(layers);  // a zoo has millions: not twice what they take
  const auto between_slabs = [&] {
    comm::stop_if_peer_failed(world);
    stop.leave_if_overdue();
    journal.keep();
  };
  std::optional<ModuleScorer> scorer;
  comm::step_together(team, [&] {
    if (team.rank() == 0) journal.open(world.rank());
    scorer.emplace(inputs, modules, options.measure, sums, where, team, world, between_slabs, clock);
  });
  for (const auto module : modules) {
    if (team.maximum(stop.made() ? 1 : 0) != 0) break;  // a team stops after the same module
    Scores one;
    scorer->score(module, one);
    comm::step_together(team, [&] {
      if (team.rank() == 0) journal.add(one);
      scores.append(std::move(one));
      ++progress.modules_done;
      progress.bytes_done += bytes_of(inputs, module);
      if (options.progress) options.progress(progress);
    });
  }
  scorer->count_bytes();
}

}  // namespace winnow::pipeline
