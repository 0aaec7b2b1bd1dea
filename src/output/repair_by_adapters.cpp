// Repairs by other adapters of the same model, which are added: merge.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "families.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/repair/merge.hpp"

namespace winnow::output {
namespace {

using adapter::Adapter;
using adapter::LoraModule;
using base::Error;
using base::ErrorKind;

Error not_mergeable(const Adapter& adapter, const std::string& key, const std::string& reason) {
  return Error(ErrorKind::invalid_input, "a tensor of the adapter cannot be merged: " + reason)
      .file(adapter.weights_file)
      .tensor(key)
      .expected("lora_A and lora_B of linear layers alone")
      .advice("take it out of the adapter, or merge the models");
}

/// Whole weights that the adapter has beside its updates stay; a part of an update that stayed would weigh too much.
void require_weighable(const Adapter& adapter) {
  for (const auto& [key, reason] : adapter.skipped) {
    if (adapter::is_lora_factor(adapter::parse_adapter_key(key).kind)) throw not_mergeable(adapter, key, reason);
  }
}

/// Nothing of what is added may be lost.
void require_covered(const Adapter& adapter, const Adapter& added) {
  for (const auto& module : added.modules) {
    const auto* own = adapter::find_counterpart(adapter, module.adapter_module());
    if (own == nullptr) {
      throw Error(
          ErrorKind::invalid_input,
          fmt::format("the adapter has no module {} to which that of another could be added", module.adapter_module()))
          .file(adapter.path)
          .expected(fmt::format("all modules of {}", added.path))
          .advice("exchange the two, if the other one has them all");
    }
    if (own->out_features == module.out_features && own->in_features == module.in_features) continue;
    throw Error(ErrorKind::invalid_input,
                fmt::format("module {} has another shape than the adapter's", module.adapter_module()))
        .file(added.weights_file)
        .expected(fmt::format("[{}, {}], found [{}, {}]", own->out_features, own->in_features, module.out_features,
                              module.in_features))
        .advice("give an adapter of the same model");
  }
}

class ByAdapters final : public Repairer {
 public:
  ByAdapters(const run::ModuleRepair& repair, const base::Log& log) : weights_(repair.weights) {
    for (const auto& path : repair.with) {
      others_.push_back(adapter::open_lone_adapter(path, "the adapter cannot be merged", log));
      const auto& skipped = others_.back().skipped;
      if (!skipped.empty()) throw not_mergeable(others_.back(), skipped.front().key, skipped.front().reason);
    }
  }

  Adapter open(const std::string& directory, const base::Log& log) override {
    auto adapter = adapter::open_lone_adapter(directory, kCannotBeRepaired, log);
    require_weighable(adapter);
    counterparts_.clear();
    for (std::size_t n = 0; n < others_.size(); ++n) {
      require_covered(adapter, others_[n]);
      for (const auto& module : others_[n].modules) {
        counterparts_[adapter::find_counterpart(adapter, module.adapter_module())->adapter_module()].emplace_back(
            n, &module);
      }
    }
    return adapter;
  }

  bool reaches(const LoraModule& /*module*/) const override { return true; }

  /// A module that no other has is its own part of the sum.
  repair::Factors repaired(const LoraModule& module, const repair::Factors& update) override {
    std::vector<repair::Factors> added;
    std::vector<double> weights;
    for (const auto& [n, counterpart] : counterparts_[module.adapter_module()]) {
      added.push_back(read(others_[n], *counterpart));
      weights.push_back(weights_[n + 1]);
    }
    return repair::merge(update, weights_.front(), added, weights);
  }

  adapter::RepairNote note() const override {
    adapter::RepairNote note{"merge", {{"weights", fmt::format("{}", fmt::join(weights_, ","))}}};
    for (std::size_t n = 0; n < others_.size(); ++n) {
      const auto name = others_.size() == 1 ? std::string("with") : fmt::format("with_{}", n + 1);
      note.settings.emplace_back(name, others_[n].path);
      note.settings.emplace_back(name + "_digest", others_[n].digest);
    }
    return note;
  }

 private:
  std::vector<double> weights_;  // that of the adapter first
  std::vector<Adapter> others_;
  /// By module of the adapter opened last, what the others have of it: which of them, and its module.
  std::map<std::string, std::vector<std::pair<std::size_t, const LoraModule*>>, std::less<>> counterparts_;
};

}  // namespace

std::unique_ptr<Repairer> by_adapters(const run::ModuleRepair& repair, const base::Log& log) {
  return std::make_unique<ByAdapters>(repair, log);
}

}  // namespace winnow::output
