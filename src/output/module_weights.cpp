// project, restore, extrapolate, unablate
#include "module_repairer.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/repair/extrapolate.hpp"
#include "winnow/repair/project.hpp"
#include "winnow/repair/restore.hpp"
#include "winnow/repair/unablate.hpp"
#include "winnow/repair/weight_directions.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::output {
namespace {

using repair::Kind;
using repair::Projection;
using run::ModuleRepair;

bool needs_pair(const ModuleRepair& repair) { return (repair::repair_of(repair.kind).needs & repair::kPair) != 0; }

/// Whether the repair goes by the leading singular triplets of V rather than by products with it.
bool needs_directions(const ModuleRepair& repair) {
  if (repair.kind == Kind::project) return repair.projection == Projection::by_subspace;
  return repair.kind == Kind::restore || repair.kind == Kind::extrapolate;
}

/// V = W_aligned - W_base of a module, or W_aligned itself, as far as a repair needs it.
class ModuleWeights final : public ModuleRepairer {
 public:
  ModuleWeights(const input::Inputs& inputs, const slab::ModuleTask& task, const ModuleRepair& repair, int threads)
      : repair_(repair), aligned_(read_tensor(inputs.aligned, task.aligned)) {
    const auto& shape = task.aligned.shape;
    slab::Slab stored{
        0, shape.at(0), shape.at(1), nullptr, aligned_.bytes.data(), task.aligned.dtype, task.aligned.dtype};
    if (needs_pair(repair)) {
      base_ = read_tensor(inputs.base, task.base);
      stored.base = base_.bytes.data();
      stored.base_dtype = task.base.dtype;
    }
    products_ = std::make_unique<repair::WeightProducts>(
        repair::StoredWeights{task.out_features, task.in_features, task.stored_transposed, stored}, threads,
        repair::WeightNames{task.weight, base_.file, aligned_.file});
    if (needs_directions(repair)) leading_ = repair::leading_triplets(*products_, repair.directions);
  }

  repair::Factors repaired(const repair::Factors& update) const override {
    switch (repair_.kind) {
      case Kind::unablate:
        return repair::unablate(update, *products_, repair_.threshold);
      case Kind::restore:
        return repair::restore(update, *leading_);
      case Kind::extrapolate:
        return repair::extrapolate(update, *leading_, repair_.lambda);
      default:
        break;
    }
    if (leading_) return repair::project(update, *leading_);
    return repair_.projection == Projection::rescaled ? repair::project_rescaled(update, *products_)
                                                      : repair::project(update, *products_);
  }

  bool is_unchanged() const override {
    if (leading_) return leading_->count == 0;
    return needs_pair(repair_) && products_->norm() == 0;
  }

  std::uint64_t bytes_read() const override { return base_.bytes.size() + aligned_.bytes.size(); }

 private:
  const ModuleRepair& repair_;
  StoredTensor base_, aligned_;
  std::unique_ptr<repair::WeightProducts> products_;
  std::optional<repair::Triplets> leading_;  // of V, if that is what the repair goes by
};

}  // namespace

StoredTensor read_tensor(const checkpoint::Catalogue& weights, const checkpoint::TensorLocation& location) {
  StoredTensor tensor{weights.shards.at(location.shard).path, std::vector<std::byte>(location.bytes)};
  base::File::open_for_reading(tensor.file).read_exact(location.offset, tensor.bytes);
  return tensor;
}

std::unique_ptr<ModuleRepairer> by_weights(const input::Inputs& inputs, std::size_t task, const ModuleRepair& repair,
                                           int threads) {
  return std::make_unique<ModuleWeights>(inputs, inputs.tasks[task], repair, threads);
}

adapter::RepairNote note_by_weights(const ModuleRepair& repair, const input::Inputs& inputs) {
  adapter::RepairNote note{std::string(repair::repair_of(repair.kind).name), {}};
  if (repair.kind == Kind::project) note.settings.emplace_back("project_by", repair::name(repair.projection));
  if (needs_directions(repair)) note.settings.emplace_back("directions", fmt::format("{}", repair.directions));
  if (repair.kind == Kind::extrapolate) note.settings.emplace_back("lambda", fmt::format("{}", repair.lambda));
  if (repair.kind == Kind::unablate) note.settings.emplace_back("threshold", fmt::format("{}", repair.threshold));
  const auto add = [&](const std::string& name, const checkpoint::Catalogue& weights) {
    note.settings.emplace_back(name, weights.directory);
    note.settings.emplace_back(name + "_digest", base::sha256_hex(weights.fingerprint + weights.sample));
  };
  if (needs_pair(repair)) add("base", inputs.base);
  add("aligned", inputs.aligned);
  return note;
}

}  // namespace winnow::output
