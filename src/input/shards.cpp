// Which file of which checkpoint, or direction, a task's weights are in.
#include <algorithm>
#include <utility>

#include "winnow/input/inputs.hpp"

namespace winnow::input {

const checkpoint::Shard& Inputs::shard_of(const slab::ModuleTask& task, bool of_aligned) const {
  const auto& location = of_aligned ? task.aligned : task.base;
  const auto& catalogue = is_direction(task) ? probes[task.source - 1].weights : of_aligned ? aligned : base;
  return catalogue.shards.at(location.shard);
}

std::vector<slab::Source> Inputs::sources() const {
  std::vector<slab::Source> all{{&base, &aligned}};
  for (const auto& probe : probes) all.push_back({nullptr, &probe.weights});
  return all;
}

std::vector<std::pair<std::string, const checkpoint::Shard*>> Inputs::all_shards() const {
  std::vector<std::pair<std::string, const checkpoint::Shard*>> all;
  for (const auto& shard : base.shards) all.emplace_back("base", &shard);
  for (const auto& shard : aligned.shards) all.emplace_back("aligned", &shard);
  for (const auto& probe : probes) {
    if (!probe.is_direction()) continue;
    for (const auto& shard : probe.weights.shards) all.emplace_back("direction " + probe.name, &shard);
  }
  return all;
}

std::size_t Inputs::shard_number(const slab::ModuleTask& task, bool of_aligned) const {
  const auto all = all_shards();
  const auto* const wanted = &shard_of(task, of_aligned);
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.second == wanted; });
  return static_cast<std::size_t>(found - all.begin());
}

}  // namespace winnow::input
