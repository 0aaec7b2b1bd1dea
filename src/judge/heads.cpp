#include "winnow/judge/heads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "winnow/input/module_names.hpp"
#include "winnow/methods/layer.hpp"

namespace winnow::judge {
namespace {

using input::Inputs;
using score::LayerScore;

/// The attentions of all modules that have heads, and the modules of attention that have none.
void add_rows(const Inputs& inputs, const base::Log& log, report::Heads& heads) {
  std::size_t with_heads = 0;
  for (const auto first : inputs.first_task) {
    const auto& task = inputs.tasks[first];
    auto found = checkpoint::heads_of_module(task.name, task.out_features, task.in_features, inputs.model.heads);
    if (!found.reason.empty()) heads.headless.push_back({task.name, std::move(found.reason)});
    if (!found.ranges) continue;
    ++with_heads;
    heads.attention.push_back({checkpoint::attention_of(task.name), input::layer_of(task.name)});
  }
  sort_rows(heads);
  if (heads.headless.empty()) return;
  const auto& [module, reason] = heads.headless.front();
  log.warn(fmt::format("--heads: {} of {} modules of attention {} in no head, the first: {} {}", heads.headless.size(),
                       heads.headless.size() + with_heads, heads.headless.size() == 1 ? "is" : "are", module, reason));
}

/// What is shipped as a whole has no sums by head.
void tell_of_dense(const Inputs& inputs, const base::Log& log) {
  std::size_t count = 0;
  std::string first;
  for (std::size_t t = 0; t < inputs.tasks.size(); ++t) {
    const auto& task = inputs.tasks[t];
    if (!inputs.is_dense(task) || inputs.layers[t].empty()) continue;
    if (!checkpoint::heads_of_module(task.name, task.out_features, task.in_features, inputs.model.heads).ranges)
      continue;
    if (count == 0)
      first = fmt::format("{} of adapter {}", task.name, inputs.adapters[inputs.layers[t].front().adapter].name);
    count += inputs.layers[t].size();
  }
  if (count == 0) return;
  log.warn(fmt::format("--heads: {} whole weight{} or DoRA layer{} of attention {} in no head, the first: {}", count,
                       count == 1 ? "" : "s", count == 1 ? "" : "s", count == 1 ? "is" : "are", first));
}

}  // namespace

void sort_rows(report::Heads& heads) {
  const auto settle = [](auto& rows, const auto& name) {
    std::sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) {
      if (input::comes_before(name(a), name(b))) return true;
      return !input::comes_before(name(b), name(a)) && name(a) < name(b);
    });
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  };
  settle(heads.attention, [](const auto& row) -> const std::string& { return row.name; });
  settle(heads.headless, [](const auto& row) -> const std::string& { return row.module; });
}

report::Heads heads_of(const Inputs& inputs, const score::Scores& scores, const report::Report& report,
                       const base::Log& log) {
  const auto& model = inputs.model.heads;
  report::Heads heads{model.query, model.key_value, model.width, {}, {}, {}};
  add_rows(inputs, log, heads);
  tell_of_dense(inputs, log);
  std::map<std::string, std::size_t> place;
  for (std::size_t l = 0; l < heads.attention.size(); ++l) place[heads.attention[l].name] = l;

  const auto modules = report.modules.size(), adapters = report.adapters.size();
  heads.dots.assign(report.probes.size() * adapters * heads.attention.size() * heads.query, methods::kUndefined);
  std::vector<const LayerScore*> layers;  // in the order of the tasks, in which q, k, v and o are added up
  for (const auto& layer : scores.layers) {
    if (!layer.heads.empty()) layers.push_back(&layer);
  }
  std::sort(layers.begin(), layers.end(), [](const auto* a, const auto* b) {
    return std::pair(a->module, a->adapter) < std::pair(b->module, b->adapter);
  });
  for (const auto* layer : layers) {
    const auto& task = inputs.tasks[layer->module];
    const auto l = place.at(checkpoint::attention_of(task.name));
    for (std::size_t k = 0; k < layer->dots.size(); ++k) {
      const auto probe = inputs.is_direction(task) ? task.source - 1 : k;
      const auto cell = (probe * adapters + layer->adapter) * modules + inputs.module_of[layer->module];
      if (std::isnan(layer->dots[k]) || std::isnan(report.probe_dots[cell])) continue;
      double* const of =
          heads.dots.data() + ((probe * adapters + layer->adapter) * heads.attention.size() + l) * heads.query;
      for (std::uint64_t range = 0; range < task.heads.count; ++range) {
        const auto [first, count] = checkpoint::query_heads_of(range, task.heads, model);
        const double part = layer->heads[k * task.heads.count + range] / static_cast<double>(count);
        for (auto head = first; head < first + count; ++head) of[head] = (std::isnan(of[head]) ? 0 : of[head]) + part;
      }
    }
  }
  return heads;
}

}  // namespace winnow::judge
