// Repairs by probes that are adapters: deflect and subtract. No checkpoint of the model is read.
#include <fmt/format.h>

#include <map>
#include <utility>

#include "families.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/holds_checkpoint.hpp"
#include "winnow/repair/deflect.hpp"
#include "winnow/repair/singular_vectors.hpp"
#include "winnow/repair/subtract.hpp"

namespace winnow::output {
namespace {

using adapter::Adapter;
using adapter::LoraModule;
using base::Error;
using base::ErrorKind;
using run::ModuleRepair;

/// By module of the adapter, as it names them, what the probes have of it, in their order: which probe, and its module.
using Counterparts = std::map<std::string, std::vector<std::pair<const Adapter*, const LoraModule*>>, std::less<>>;

Counterparts match(const Adapter& adapter, const std::vector<Adapter>& probes) {
  Counterparts found;
  for (const auto& probe : probes) {
    std::size_t common = 0;
    for (const auto& module : probe.modules) {
      const auto* own = adapter::find_counterpart(adapter, module.adapter_module());
      if (own == nullptr) continue;
      ++common;
      if (own->out_features != module.out_features || own->in_features != module.in_features) {
        throw Error(ErrorKind::invalid_input,
                    fmt::format("the probe's module {} has another shape than the adapter's", module.adapter_module()))
            .file(probe.weights_file)
            .expected(fmt::format("[{}, {}], found [{}, {}]", own->out_features, own->in_features, module.out_features,
                                  module.in_features))
            .advice("give a probe that was made on the adapter's model");
      }
      found[own->adapter_module()].emplace_back(&probe, &module);
    }
    if (common == 0) {
      throw Error(ErrorKind::invalid_input, "the probe has no module in common with the adapter")
          .file(probe.path)
          .expected(fmt::format("modules such as {}, found {}", adapter.modules.front().adapter_module(),
                                probe.modules.front().adapter_module()))
          .advice("give a probe that was made on the adapter's model");
    }
  }
  return found;
}

class ByProbes final : public Repairer {
 public:
  ByProbes(const ModuleRepair& repair, const base::Log& log) : repair_(repair) {
    for (const auto& probe : repair.probes) {
      if (!adapter::holds_adapter(probe.path) && checkpoint::holds_checkpoint(probe.path)) {
        throw Error(ErrorKind::invalid_input,
                    "the probe cannot be used: it is shaped like a checkpoint, not an adapter")
            .file(probe.path)
            .advice(repair.kind == repair::Kind::deflect ? "give it as --direction"
                                                         : "give it as --direction, with --repair deflect");
      }
      probes_.push_back(adapter::open_lone_adapter(probe.path, "the probe cannot be used", log));
    }
  }

  Adapter open(const std::string& directory, const base::Log& log) override {
    auto adapter = adapter::open_lone_adapter(directory, kCannotBeRepaired, log);
    counterparts_ = match(adapter, probes_);
    return adapter;
  }

  bool reaches(const LoraModule& module) const override { return counterparts_.contains(module.adapter_module()); }

  repair::Factors repaired(const LoraModule& module, const repair::Factors& update) override {
    const auto& probes = counterparts_.at(module.adapter_module());
    if (repair_.kind == repair::Kind::subtract) {
      std::vector<repair::Factors> all;
      for (const auto& [probe, of_probe] : probes) all.push_back(read(*probe, *of_probe));
      return repair::subtract(update, all, repair_.lambda);
    }
    // One, or what lies in several of them.
    if (probes.size() == 1) {
      return repair::deflect(update, directions(*probes.front().first, *probes.front().second), repair_.side,
                             repair_.lambda);
    }
    std::vector<repair::Subspace> along;
    for (const auto& [probe, of_probe] : probes) along.push_back(directions(*probe, *of_probe));
    return repair::deflect(update, repair::joined(along), repair_.side, repair_.lambda);
  }

  adapter::RepairNote note() const override {
    std::vector<std::pair<std::string, std::string>> probes;
    for (const auto& probe : probes_) probes.emplace_back(probe.path, probe.digest);
    return note_by_probes(repair_, probes);
  }

 private:
  const repair::Subspace& directions(const Adapter& probe, const LoraModule& module) {
    const std::pair key(&probe, module.adapter_module());
    const auto known = directions_.find(key);
    if (known != directions_.end()) return known->second;
    return directions_.emplace(key, repair::leading_directions(read(probe, module), repair_.directions)).first->second;
  }

  ModuleRepair repair_;
  std::vector<Adapter> probes_;
  Counterparts counterparts_;  // of the adapter opened last
  std::map<std::pair<const Adapter*, std::string>, repair::Subspace>
      directions_;  // of the probes' modules that were met
};

}  // namespace

adapter::RepairNote note_by_probes(const ModuleRepair& repair,
                                   const std::vector<std::pair<std::string, std::string>>& probes) {
  adapter::RepairNote note{std::string(repair::repair_of(repair.kind).name), {}};
  if (repair.kind == repair::Kind::deflect) {
    note.settings.emplace_back("side", repair::name(repair.side));
    note.settings.emplace_back("directions", fmt::format("{}", repair.directions));
  }
  note.settings.emplace_back("lambda", fmt::format("{}", repair.lambda));
  for (std::size_t n = 0; n < probes.size(); ++n) {
    const auto name = probes.size() == 1 ? std::string("probe") : fmt::format("probe_{}", n + 1);
    note.settings.emplace_back(name, probes[n].first);
    note.settings.emplace_back(name + "_digest", probes[n].second);
  }
  return note;
}

std::unique_ptr<Repairer> by_probes(const ModuleRepair& repair, const base::Log& log) {
  return std::make_unique<ByProbes>(repair, log);
}

}  // namespace winnow::output
