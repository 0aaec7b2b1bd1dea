// Repairs by the model's weights: project, restore, extrapolate, unablate. Of each module that is repaired the weights
// are read once, whole.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "families.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/input/checkpoints.hpp"
#include "winnow/repair/extrapolate.hpp"
#include "winnow/repair/project.hpp"
#include "winnow/repair/restore.hpp"
#include "winnow/repair/unablate.hpp"
#include "winnow/repair/weight_directions.hpp"

namespace winnow::output {
namespace {

using adapter::Adapter;
using adapter::LoraModule;
using base::Error;
using base::ErrorKind;
using repair::Kind;
using repair::Projection;
using run::ModuleRepair;

/// A tensor's bytes and where they are from.
struct Tensor {
  std::string file;
  checkpoint::TensorLocation location;
  std::vector<std::byte> bytes;
};

Tensor read_tensor(const checkpoint::Catalogue& weights, const std::string& name) {
  const auto& location = *weights.find(name);
  Tensor tensor{weights.shards.at(location.shard).path, location, std::vector<std::byte>(location.bytes)};
  base::File::open_for_reading(tensor.file).read_exact(location.offset, tensor.bytes);
  return tensor;
}

/// V = W_aligned - W_base of a module, or W_aligned itself.
class ModuleWeights {
 public:
  ModuleWeights(const input::Checkpoints& checkpoints, const LoraModule& module, int threads)
      : aligned_(read_tensor(checkpoints.aligned, module.weight())) {
    const auto& shape = aligned_.location.shape;
    slab::Slab stored{
        0, shape.at(0), shape.at(1), nullptr, aligned_.bytes.data(), aligned_.location.dtype, aligned_.location.dtype};
    if (!checkpoints.base.shards.empty()) {
      base_ = read_tensor(checkpoints.base, module.weight());
      stored.base = base_.bytes.data();
      stored.base_dtype = base_.location.dtype;
    }
    products_ = std::make_unique<repair::WeightProducts>(
        repair::StoredWeights{module.out_features, module.in_features, module.stored_transposed, stored}, threads,
        repair::WeightNames{module.weight(), base_.file, aligned_.file});
  }

  const repair::WeightProducts& products() const { return *products_; }

 private:
  Tensor base_, aligned_;
  std::unique_ptr<repair::WeightProducts> products_;
};

std::string digest_of(const checkpoint::Catalogue& weights) {
  return base::sha256_hex(weights.fingerprint + weights.sample);
}

class ByWeights final : public Repairer {
 public:
  ByWeights(const ModuleRepair& repair, int threads, const base::Log& log)
      : repair_(repair), threads_(threads), checkpoints_(input::read_checkpoints(repair.base, repair.aligned, log)) {}

  Adapter open(const std::string& directory, const base::Log& log) override {
    auto adapter = adapter::open_adapter(directory, checkpoints_.names(), checkpoints_.model, {}, log);
    if (adapter.status != adapter::AdapterStatus::ok) {
      const bool named = adapter.reason.find(directory) != std::string::npos;
      throw Error(ErrorKind::invalid_input, fmt::format("{}: {}", kCannotBeRepaired, adapter.reason))
          .file(named ? "" : directory);
    }
    leave_out_unpaired(adapter);
    directory_ = directory;
    modules_ = adapter.modules.size();
    unchanged_.clear();
    return adapter;
  }

  bool reaches(const LoraModule& /*module*/) const override { return true; }

  repair::Factors repaired(const LoraModule& module, const repair::Factors& update) override {
    if (repair_.kind == Kind::unablate) {
      return repair::unablate(update, ModuleWeights(checkpoints_, module, threads_).products(), repair_.threshold);
    }
    if (needs_directions()) {
      const auto& leading = leading_of(module);
      if (leading.count == 0) unchanged_.push_back(module.adapter_module());
      return by_directions(update, leading);
    }
    const ModuleWeights weights(checkpoints_, module, threads_);
    const auto& step = weights.products();
    if (step.norm() == 0) unchanged_.push_back(module.adapter_module());
    return repair_.projection == Projection::rescaled ? repair::project_rescaled(update, step)
                                                      : repair::project(update, step);
  }

  void settle(const base::Log& log) override {
    if (unchanged_.empty()) return;
    if (unchanged_.size() == modules_) {
      throw Error(ErrorKind::invalid_input, "the two checkpoints do not differ in any module of the adapter")
          .file(checkpoints_.aligned.directory)
          .expected(fmt::format("the model after alignment, found the weights of {}", checkpoints_.base.directory))
          .advice("is one of them a copy of the other?");
    }
    log.warn(fmt::format(
        "{}: alignment did not change the weights of {} of its modules, which stay as they are, the first {}",
        directory_, unchanged_.size(), unchanged_.front()));
  }

  adapter::RepairNote note() const override {
    adapter::RepairNote note{std::string(repair::repair_of(repair_.kind).name), {}};
    if (repair_.kind == Kind::project) note.settings.emplace_back("project_by", repair::name(repair_.projection));
    if (needs_directions()) note.settings.emplace_back("directions", fmt::format("{}", repair_.directions));
    if (repair_.kind == Kind::extrapolate) note.settings.emplace_back("lambda", fmt::format("{}", repair_.lambda));
    if (repair_.kind == Kind::unablate) note.settings.emplace_back("threshold", fmt::format("{}", repair_.threshold));
    for (const auto& [name, weights] : {std::pair("base", &checkpoints_.base), {"aligned", &checkpoints_.aligned}}) {
      if (weights->shards.empty()) continue;
      note.settings.emplace_back(name, weights->directory);
      note.settings.emplace_back(fmt::format("{}_digest", name), digest_of(*weights));
    }
    return note;
  }

 private:
  bool needs_directions() const {
    if (repair_.kind == Kind::project) return repair_.projection == Projection::by_subspace;
    return repair_.kind == Kind::restore || repair_.kind == Kind::extrapolate;
  }

  repair::Factors by_directions(const repair::Factors& update, const repair::Triplets& leading) const {
    if (repair_.kind == Kind::restore) return repair::restore(update, leading);
    if (repair_.kind == Kind::extrapolate) return repair::extrapolate(update, leading, repair_.lambda);
    return repair::project(update, leading);
  }

  /// Weights that the two checkpoints do not have alike: no pair, as an audit says, but for a larger vocabulary.
  void leave_out_unpaired(Adapter& adapter) const {
    std::vector<adapter::UnjudgedModule> unjudged;
    const auto is_unpaired = [&](const LoraModule& module) {
      auto fault = input::weight_fault(checkpoints_.names(), checkpoints_.aligned, module.weight());
      if (!fault) return false;
      if (!adapter::is_output_head(module.adapter_module())) throw *std::move(fault);
      unjudged.push_back({module.adapter_module(), fault->summary(), true});
      return true;
    };
    if (std::none_of(adapter.modules.begin(), adapter.modules.end(), is_unpaired)) return;
    unjudged.clear();
    adapter.modules.edit([&](auto& modules) { std::erase_if(modules, is_unpaired); });
    adapter.unjudged.edit([&](auto& all) { all.insert(all.end(), unjudged.begin(), unjudged.end()); });
  }

  /// Kept: in a zoo many adapters have the module.
  const repair::Triplets& leading_of(const LoraModule& module) {
    const auto known = leading_.find(module.weight());
    if (known != leading_.end()) return known->second;
    const ModuleWeights weights(checkpoints_, module, threads_);
    return leading_.emplace(module.weight(), repair::leading_triplets(weights.products(), repair_.directions))
        .first->second;
  }

  ModuleRepair repair_;
  int threads_;
  input::Checkpoints checkpoints_;
  std::map<std::string, repair::Triplets> leading_;  // by weight
  std::string directory_;                            // of the adapter opened last
  std::size_t modules_ = 0;
  std::vector<std::string> unchanged_;  // those whose weights alignment did not change
};

}  // namespace

std::unique_ptr<Repairer> by_weights(const ModuleRepair& repair, int threads, const base::Log& log) {
  return std::make_unique<ByWeights>(repair, threads, log);
}

}  // namespace winnow::output
