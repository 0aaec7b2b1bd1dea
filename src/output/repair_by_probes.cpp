// Repairs by probes: deflect and subtract. No checkpoint of the model is read.
#include <fmt/format.h>

#include <map>
#include <utility>

#include "families.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/repair/dense_directions.hpp"
#include "winnow/repair/subtract.hpp"

namespace winnow::output {
namespace {

using adapter::Adapter;
using adapter::LoraModule;
using base::Error;
using base::ErrorKind;
using run::ModuleRepair;

/// A probe as it was opened: an adapter, or tensors shaped like the weights.
struct Probe {
  probes::Source source;
  Adapter adapter;
  checkpoint::Catalogue weights;
  std::string digest;

  bool is_direction() const { return source.form == probes::Form::direction; }
};

/// One module of a probe, or a tensor of a direction.
struct ProbeModule {
  const Probe* probe = nullptr;
  LoraModule module;  ///< of a direction what the repaired adapter says of the weight
};

/// By module of the adapter, as it names them, what the probes have of it, in their order.
using Counterparts = std::map<std::string, std::vector<ProbeModule>, std::less<>>;

Probe open_probe(const probes::Source& source, const base::Log& log) {
  constexpr const char* kRefused = "the probe cannot be used";
  Probe probe{source, {}, {}, {}};
  if (probe.is_direction()) {
    probe.weights = checkpoint::read_checkpoint(source.path, log);
    probe.digest = base::sha256_hex(probe.weights.fingerprint + probe.weights.sample);
  } else {
    probe.adapter = adapter::open_lone_adapter(source.path, kRefused, log);
    probe.digest = probe.adapter.digest;
  }
  return probe;
}

/// The modules that a probe has of the adapter in `source`.
base::SharedList<LoraModule> modules_for(const Probe& probe, const std::string& source) {
  if (!probe.is_direction()) return probe.adapter.modules;
  // By the rules of an audit; nothing else of the adapter is wrong, for it was opened before.
  const auto mapped = adapter::open_adapter(source, probe.weights, {}, {.whole_model = false}, base::Log());
  if (mapped.status == adapter::AdapterStatus::ok) return mapped.modules;
  throw Error(ErrorKind::invalid_input, "the direction cannot be used for the adapter: " + mapped.reason)
      .file(probe.source.path)
      .advice("give a direction of the adapter's model");
}

Counterparts match(const Adapter& adapter, const std::string& source, const std::vector<Probe>& probes) {
  Counterparts found;
  for (const auto& probe : probes) {
    const auto modules = modules_for(probe, source);
    std::size_t common = 0;
    for (const auto& module : modules) {
      const auto* own = adapter::find_counterpart(adapter, module.adapter_module());
      if (own == nullptr) continue;
      ++common;
      if (own->out_features != module.out_features || own->in_features != module.in_features) {
        throw Error(ErrorKind::invalid_input,
                    fmt::format("the probe's module {} has another shape than the adapter's", module.adapter_module()))
            .file(probe.adapter.weights_file)
            .expected(fmt::format("[{}, {}], found [{}, {}]", own->out_features, own->in_features, module.out_features,
                                  module.in_features))
            .advice("give a probe that was made on the adapter's model");
      }
      found[own->adapter_module()].push_back({&probe, module});
    }
    if (common == 0) {
      throw Error(ErrorKind::invalid_input, "the probe has no module in common with the adapter")
          .file(probe.source.path)
          .expected(fmt::format("modules such as {}, found {}", adapter.modules.front().adapter_module(),
                                modules.front().adapter_module()))
          .advice("give a probe that was made on the adapter's model");
    }
  }
  return found;
}

/// All of a direction's tensor at once: it is swept several times.
repair::Subspace leading_directions(const Probe& probe, const LoraModule& module, std::uint64_t k, int threads) {
  const auto* tensor = probe.weights.find(module.weight());
  const auto& path = probe.weights.shards.at(tensor->shard).path;
  if (!base::is_computable(tensor->dtype)) {
    throw Error(ErrorKind::invalid_input, fmt::format("a direction of dtype {}", base::name(tensor->dtype)))
        .file(path)
        .tensor(module.weight())
        .expected("BF16, F16, F32 or F64");
  }
  std::vector<std::byte> bytes(tensor->bytes);
  base::File::open_for_reading(path).read_exact(tensor->offset, bytes);
  const auto rows = tensor->shape.at(0), columns = tensor->shape.at(1);
  const slab::Slab slab{0, rows, columns, nullptr, bytes.data(), tensor->dtype, tensor->dtype};
  const auto pass = compute::make_alignment_pass(compute::Backend::cpu, compute::Device::cpu, threads);
  return repair::leading_directions({module.out_features, module.in_features, module.stored_transposed, slab}, k, *pass,
                                    module.weight());
}

class ByProbes final : public Repairer {
 public:
  ByProbes(const ModuleRepair& repair, int threads, const base::Log& log) : repair_(repair), threads_(threads) {
    for (const auto& probe : repair.probes) probes_.push_back(open_probe(probe, log));
  }

  Adapter open(const std::string& directory, const base::Log& log) override {
    auto adapter = adapter::open_lone_adapter(directory, kCannotBeRepaired, log);
    counterparts_ = match(adapter, directory, probes_);
    return adapter;
  }

  bool reaches(const LoraModule& module) const override { return counterparts_.contains(module.adapter_module()); }

  repair::Factors repaired(const LoraModule& module, const repair::Factors& update) override {
    const auto& probes = counterparts_.at(module.adapter_module());
    if (repair_.kind == repair::Kind::subtract) {
      std::vector<repair::Factors> all;
      for (const auto& [probe, of_probe] : probes) all.push_back(read(probe->adapter, of_probe));
      return repair::subtract(update, all, repair_.lambda);
    }
    // One, or what lies in several of them.
    if (probes.size() == 1) return repair::deflect(update, directions(probes.front()), repair_.side, repair_.lambda);
    std::vector<repair::Subspace> along;
    for (const auto& probe : probes) along.push_back(directions(probe));
    return repair::deflect(update, repair::joined(along), repair_.side, repair_.lambda);
  }

  adapter::RepairNote note() const override {
    adapter::RepairNote note{std::string(repair::repair_of(repair_.kind).name), {}};
    if (repair_.kind == repair::Kind::deflect) {
      note.settings.emplace_back("side", repair::name(repair_.side));
      note.settings.emplace_back("directions", fmt::format("{}", repair_.directions));
    }
    note.settings.emplace_back("lambda", fmt::format("{}", repair_.lambda));
    for (std::size_t n = 0; n < probes_.size(); ++n) {
      const auto name = probes_.size() == 1 ? std::string("probe") : fmt::format("probe_{}", n + 1);
      note.settings.emplace_back(name, probes_[n].source.path);
      note.settings.emplace_back(name + "_digest", probes_[n].digest);
    }
    return note;
  }

 private:
  const repair::Subspace& directions(const ProbeModule& of) {
    const auto& [probe, module] = of;
    const std::pair key(probe, probe->is_direction() ? module.weight() : module.adapter_module());
    const auto known = directions_.find(key);
    if (known != directions_.end()) return known->second;
    auto found = probe->is_direction() ? leading_directions(*probe, module, repair_.directions, threads_)
                                       : repair::leading_directions(read(probe->adapter, module), repair_.directions);
    return directions_.emplace(key, std::move(found)).first->second;
  }

  ModuleRepair repair_;
  int threads_;
  std::vector<Probe> probes_;
  Counterparts counterparts_;                                                    // of the adapter opened last
  std::map<std::pair<const Probe*, std::string>, repair::Subspace> directions_;  // of the probes' modules that were met
};

}  // namespace

std::unique_ptr<Repairer> by_probes(const ModuleRepair& repair, int threads, const base::Log& log) {
  return std::make_unique<ByProbes>(repair, threads, log);
}

}  // namespace winnow::output
