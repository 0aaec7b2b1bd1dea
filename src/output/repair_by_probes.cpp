#include "winnow/output/repair_by_probes.hpp"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/repair/subtract.hpp"

namespace winnow::output {
namespace {

using adapter::Adapter;
using adapter::LoraModule;
using base::Error;
using base::ErrorKind;
using run::ProbeRepair;

/// One module of a probe.
struct ProbeModule {
  const Adapter* probe = nullptr;
  const LoraModule* module = nullptr;
};

/// By module of the adapter, what the probes have of it, in their order.
using Counterparts = std::map<const LoraModule*, std::vector<ProbeModule>>;

Counterparts match(const Adapter& adapter, const std::vector<Adapter>& probes) {
  Counterparts found;
  for (const auto& probe : probes) {
    std::size_t common = 0;
    for (const auto& module : probe.modules) {
      const auto* own = adapter::find_counterpart(adapter, module.adapter_module);
      if (own == nullptr) continue;
      ++common;
      if (own->out_features != module.out_features || own->in_features != module.in_features) {
        throw Error(ErrorKind::invalid_input,
                    fmt::format("the probe's module {} has another shape than the adapter's", module.adapter_module))
            .file(probe.weights_file)
            .expected(fmt::format("[{}, {}], found [{}, {}]", own->out_features, own->in_features, module.out_features,
                                  module.in_features))
            .advice("give a probe that was made on the adapter's model");
      }
      found[own].push_back({&probe, &module});
    }
    if (common == 0) {
      throw Error(ErrorKind::invalid_input, "the probe has no module in common with the adapter")
          .file(probe.path)
          .expected(fmt::format("modules such as {}, found {}", adapter.modules.front().adapter_module,
                                probe.modules.front().adapter_module))
          .advice("give a probe that was made on the adapter's model");
    }
  }
  return found;
}

repair::Factors read(const Adapter& adapter, const LoraModule& module) {
  auto values = adapter::read_factors(adapter, module);
  return {module.out_features, module.in_features, module.rank, module.scale, std::move(values.b), std::move(values.a)};
}

adapter::RepairNote note_of(const ProbeRepair& repair, const std::vector<Adapter>& probes) {
  const bool deflects = repair.kind == ProbeRepair::Kind::deflect;
  adapter::RepairNote note{deflects ? "deflect" : "subtract", {}};
  if (deflects) {
    note.settings.emplace_back("side", repair::name(repair.side));
    note.settings.emplace_back("directions", fmt::format("{}", repair.directions));
  }
  note.settings.emplace_back("lambda", fmt::format("{}", repair.lambda));
  for (std::size_t n = 0; n < probes.size(); ++n) {
    const auto name = probes.size() == 1 ? std::string("probe") : fmt::format("probe_{}", n + 1);
    note.settings.emplace_back(name, probes[n].path);
    note.settings.emplace_back(name + "_sha256", probes[n].sha256);
  }
  return note;
}

}  // namespace

class ProbeRepairer::Implementation {
 public:
  Implementation(const ProbeRepair& repair, const base::Log& log) : repair_(repair) {
    run::check(repair);
    for (const auto& probe : repair.probes) {
      probes_.push_back(adapter::open_lone_adapter(probe.path, "the probe cannot be used", log));
    }
  }

  adapter::WrittenReplacements write(const std::string& source, const std::string& destination, const base::Log& log) {
    const auto adapter = adapter::open_lone_adapter(source, "the adapter cannot be repaired", log);
    if (!adapter.unjudged.empty()) {
      log.warn(fmt::format("{}: {} of its modules stay as they are, the first {}: {}", source, adapter.unjudged.size(),
                           adapter.unjudged.front().module, adapter.unjudged.front().reason));
    }
    const auto counterparts = match(adapter, probes_);
    std::vector<adapter::Replacement> replacements;
    for (const auto& module : adapter.modules) {
      const auto found = counterparts.find(&module);
      if (found == counterparts.end()) continue;
      if (auto made = replacement(adapter, module, found->second)) replacements.push_back(*std::move(made));
    }
    return adapter::write_replaced_adapter(source, destination, replacements, note_of(repair_, probes_));
  }

 private:
  /// Nothing where the module stays as it is.
  std::optional<adapter::Replacement> replacement(const Adapter& adapter, const LoraModule& module,
                                                  const std::vector<ProbeModule>& probes) {
    const auto update = read(adapter, module);
    try {
      const auto result = repaired(update, probes);
      if (result == update) return std::nullopt;
      const auto& name = module.adapter_module;
      return adapter::Replacement{name, result.rank,
                                  adapter::encoded(module.lora_a.dtype, result.a, fmt::format("lora_A of {}", name)),
                                  adapter::encoded(module.lora_b.dtype, result.b, fmt::format("lora_B of {}", name))};
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_input || !error.file().empty()) throw;
      throw Error(error.kind(), fmt::format("cannot repair {}: {}", module.adapter_module, error.what()))
          .file(adapter.weights_file);
    }
  }

  repair::Factors repaired(const repair::Factors& update, const std::vector<ProbeModule>& probes) {
    if (repair_.kind == ProbeRepair::Kind::subtract) {
      std::vector<repair::Factors> all;
      for (const auto& [probe, module] : probes) all.push_back(read(*probe, *module));
      return repair::subtract(update, all, repair_.lambda);
    }
    // One, or what lies in several of them.
    if (probes.size() == 1) return repair::deflect(update, directions(probes.front()), repair_.side, repair_.lambda);
    std::vector<repair::Subspace> along;
    for (const auto& probe : probes) along.push_back(directions(probe));
    return repair::deflect(update, repair::joined(along), repair_.side, repair_.lambda);
  }

  const repair::Subspace& directions(const ProbeModule& of) {
    const auto known = directions_.find(of.module);
    if (known != directions_.end()) return known->second;
    return directions_.emplace(of.module, repair::leading_directions(read(*of.probe, *of.module), repair_.directions))
        .first->second;
  }

  ProbeRepair repair_;
  std::vector<Adapter> probes_;
  std::map<const LoraModule*, repair::Subspace> directions_;  // of the probes' modules that were met
};

ProbeRepairer::ProbeRepairer(const ProbeRepair& repair, const base::Log& log)
    : implementation_(std::make_unique<Implementation>(repair, log)) {}

ProbeRepairer::~ProbeRepairer() = default;

adapter::WrittenReplacements ProbeRepairer::write(const std::string& source, const std::string& destination,
                                                  const base::Log& log) {
  return implementation_->write(source, destination, log);
}

}  // namespace winnow::output
