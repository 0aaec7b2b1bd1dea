#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "adapter_files.hpp"
#include "adapter_tensors.hpp"
#include "adapter_warnings.hpp"
#include "dense_layers.hpp"
#include "different_weights.hpp"
#include "expert_blocks.hpp"
#include "expert_mapping.hpp"
#include "file_factors.hpp"
#include "missing_modules.hpp"
#include "module_list.hpp"
#include "refusal.hpp"
#include "target_modules.hpp"
#include "target_names.hpp"
#include "weight_fit.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/adapter/storage_order.hpp"
#include "winnow/adapter/treatment.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/expert_slices.hpp"
#include "wrapping.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using checkpoint::TensorLocation;

std::uint64_t parameters_of(const checkpoint::Catalogue& file) {
  std::uint64_t count = 0;
  for (const auto& [name, location] : file.tensors) {
    count += std::accumulate(location.shape.begin(), location.shape.end(), std::uint64_t{1}, std::multiplies<>());
  }
  return count;
}

/// Opens one adapter; throws Error(invalid_input) for whatever is wrong with it.
class Opening {
 public:
  Opening(Adapter& adapter, const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model,
          const AdapterOptions& options)
      : adapter_(adapter), weights_(weights), model_(model), options_(options) {}

  void run(const base::Log& log) {
    const auto files = find_files(adapter_.path);
    adapter_.weights_file = files.weights;
    const auto file = checkpoint::read_safetensors_file(adapter_.weights_file);
    adapter_.parameters = parameters_of(file);
    // After the header, which tells the size: a file made to be endless is refused before it is read whole.
    adapter_.sha256 = base::sha256_file(adapter_.weights_file);
    read_config(files.config, log);
    sort_tensors(file, adapter_.weights_file, {judges_dense(), options_.dense, config_.use_dora, options_.allow_dora},
                 tensors_);
    take_experts();
    leave_not_loaded();
    for (const auto& [module, factors] : tensors_.factors) add_module(module, factors);
    for (const auto& block : blocks_) add_experts(block);
    leave_other_names();
    leave_random();
    settle_square_weights();
    if (modules_.empty()) throw_nothing_to_score(file);
    if (judges_dense()) add_dense_updates();
    if (modules_.empty() && adapter_.dense.empty()) throw_nothing_to_score(file);
    finish();
    adapter_.digest = digest();
  }

  /// Those that were met, of an adapter that turned out wrong as well.
  std::vector<SkippedTensor> take_skipped() { return std::move(tensors_.skipped); }

 private:
  /// Of the whole file, not of what a checkpoint has of it: the same in every audit.
  std::string digest() const {
    auto text = fmt::format("{}{}{}\n", adapter_.sha256, config_.use_dora ? " dora" : "",
                            config_.fan_in_fan_out ? " fan_in_fan_out" : "");
    for (const auto& [module, factors] : tensors_.factors) {
      text += fmt::format("{} {:a}\n", module, scaling_of(targets_->pattern_name(module), factors.a->shape[0]).scale);
    }
    for (const auto& block : blocks_) {
      text +=
          fmt::format("{} {} {:a}\n", block.parameter, block.wrapper, scaling_of(block.parameter, block.rank).scale);
    }
    return base::sha256_hex(text);
  }

  /// `name`: what patterns are compared with, a module's or a parameter's.
  Scaling scaling_of(const std::string& name, std::uint64_t rank) const {
    auto scaling = rules_->scaling(name, rank);
    if (options_.unit_scale) scaling.scale = 1;
    return scaling;
  }

  void read_config(const std::string& path, const base::Log& log) {
    config_ = parse_peft_config(base::read_text_file(path, kMaxConfigBytes), path, log);
    auto reason = quarantine_reason(config_, options_.allow_dora || judges_dense());
    if (!reason.empty()) throw bad_adapter(std::move(reason));
    rules_.emplace(config_);
    targets_.emplace(config_.target_parameters);
    peft_targets_.emplace(config_, model_.model_type);
    adapter_.base_model = config_.base_model;
    if (!config_.revision.empty()) adapter_.base_model += "@" + config_.revision;
    adapter_.rank = static_cast<std::uint64_t>(std::min(config_.r, 1e9));
    adapter_.alpha = config_.lora_alpha;
    adapter_.scale =
        options_.unit_scale ? 1 : config_.lora_alpha / (config_.use_rslora ? std::sqrt(config_.r) : config_.r);
  }

  void take_experts() {
    auto experts = take_expert_blocks(tensors_.factors, config_, *rules_, adapter_.weights_file);
    blocks_ = std::move(experts.blocks);
    for (const auto& [wrapper, refused] : experts.refused) {
      tensors_.unjudged.insert_or_assign(wrapper, UnjudgedModule{wrapper, refused.reason, false});
      tensors_.skip(refused.factors, refused.reason);
    }
  }

  /// What PEFT does not load would thin out what it does: it is judged by itself only if there is nothing else.
  void leave_not_loaded() {
    std::map<std::string, bool> modules;
    for (const auto& [module, factors] : tensors_.factors) modules.emplace(module, is_loadable(factors));
    const bool loads_weights = tensors_.whole_weight_is_loaded || tensors_.base_layers.any_is_loaded(*peft_targets_);
    auto found = not_loaded(modules, !blocks_.empty() || loads_weights, *peft_targets_);
    for (const auto& [module, loadable] : modules) {
      if (is_embedding(module))
        found.reasons.try_emplace(module, "PEFT does not load it: LoRA of a linear layer on an embedding");
    }
    if (found.reasons.empty()) return;
    if (found.loads_others) {
      for (const auto& [module, reason] : found.reasons) tensors_.leave_out(module, reason);
    } else if (tensors_.unprefixed == 0) {
      const auto& [module, reason] = *found.reasons.begin();
      warn(fmt::format("None of its LoRA modules is loaded by PEFT, and all are judged, the first {}: {}.", module,
                       reason));
    }
  }

  void add_module(const std::string& name, const FileFactors& factors) {
    check_factors(name, factors, adapter_.weights_file);
    unless_mismatched(name, [&] { map_factors(name, factors); });
  }

  void add_experts(const ExpertBlock& block) {
    unless_mismatched(block.parameter, [&] { map_experts(block); });
  }

  template <class Map>
  void unless_mismatched(const std::string& name, Map map) {
    const auto known = modules_.size();
    try {
      map();
    } catch (const Mismatch& mismatch) {
      modules_.resize(known);  // no block of experts is judged by halves
      if (!first_mismatch_) first_mismatch_ = mismatch.error;
      tensors_.unjudged.insert_or_assign(name, UnjudgedModule{name, mismatch.reason, true});
    }
  }

  bool judges_dense() const { return options_.dense && options_.aligned != nullptr; }

  void add_dense_updates() {
    auto dense = DenseLayers({adapter_.weights_file, *options_.aligned, weights_, model_}, config_, *peft_targets_,
                             wrappings_, tensors_, modules_)
                     .take();
    for (const auto& sentence : dense.warnings) warn(sentence);
    if (!first_mismatch_) first_mismatch_ = std::move(dense.first_mismatch);
    adapter_.unchanged = dense.unchanged;
    adapter_.dense = std::move(dense.updates);
  }

  /// A model has one name for a layer. An adapter that uses several of those that are the same here is loaded in part.
  void leave_other_names() {
    const auto plain = [&](const LoraModule& module) { return tensors_.factors.contains(module.adapter_module()); };
    for (const auto& module : modules_.all()) {
      if (plain(module)) wrappings_.count(*module.names);
    }
    const auto left = modules_.take_if(
        [&](const LoraModule& module) { return plain(module) && !wrappings_.is_chosen(*module.names); });
    for (const auto& module : left) tensors_.leave_out(module.adapter_module(), kOtherName);
  }

  /// What PEFT makes LoRA of and finds nothing for in the file stays as it was initialised.
  void leave_random() {
    if (!starts_at_random(config_)) return;
    for (auto& module : missing_modules(weights_, model_, *peft_targets_, tensors_, modules_.all(), wrappings_)) {
      UnjudgedModule random{module, "it is not in the file, and PEFT fills it at random (init_lora_weights is false)",
                            true};
      tensors_.unjudged.try_emplace(std::move(module), std::move(random));
    }
  }

  MappedWeight find_weight(const std::string& name) const {
    if (auto found = find_module(name, weights_, model_)) return *std::move(found);
    try {
      return map_module(name, weights_, model_);  // for its error
    } catch (const Error& error) {
      if (options_.whole_model && lies_beyond_last_layer(name, weights_)) throw;
      throw Mismatch{options_.whole_model ? "no tensor of the checkpoint matches it" : "no probe has it", error};
    }
  }

  /// Of a checkpoint, or the probe that has the weight; empty of names that lie nowhere.
  std::string file_of(const checkpoint::TensorLocation& weight) const {
    return weight.shard < weights_.shards.size() ? weights_.shards[weight.shard].path : std::string();
  }

  void map_factors(const std::string& name, const FileFactors& factors) {
    LoraModule module;
    module.rank = factors.a->shape[0];
    module.in_features = factors.a->shape[1];
    module.out_features = factors.b->shape[0];
    module.lora_a = location_of(*factors.a);
    module.lora_b = location_of(*factors.b);

    auto mapped = find_weight(name);
    module.names =
        std::make_shared<const ModuleNames>(ModuleNames{std::move(mapped.module), name, std::move(mapped.weight)});
    const auto pattern_name = targets_->pattern_name(name);
    const bool as_parameter = pattern_name != name;
    // What a model's Conv1Ds are called is known: other weights are [out, in], and a square one is no matter of
    // opinion.
    const bool known = !model_.model_type.empty(), may_be_conv1d = adapter::may_be_conv1d(module.module());
    auto transposed = fit_of(module, *mapped.location, file_of(*mapped.location), !known || may_be_conv1d);
    if (!transposed && known && is_conv1d(module.module(), model_)) transposed = true;
    if (!transposed && !may_be_conv1d) transposed = false;
    if (as_parameter && (transposed.value_or(false) || is_conv1d(name, model_))) {
      // PEFT adds B*A to a parameter as it is stored.
      throw Mismatch{"it is targeted as a parameter, and stored [in, out]",
                     bad_adapter(fmt::format("module {} is targeted as a parameter (target_parameters)", name))
                         .tensor(module.weight())
                         .expected("one that is stored [out, in], as B*A is added to it")
                         .advice("target it as a module (target_modules)")};
    }
    if (mapped.tied) warn(fmt::format("{} is tied and measured on {}.", name, module.weight()));
    const auto scaling = scaling_of(pattern_name, module.rank);
    module.alpha = scaling.alpha;
    module.scale = scaling.scale;
    if (static_cast<double>(module.rank) != rules_->configured_rank(pattern_name)) ++wrong_ranks_;
    add(std::move(module), as_parameter ? Orientation{false, false, false} : Orientation{transposed, false, true});
  }

  void map_experts(const ExpertBlock& block) {
    auto modules = experts_of(block, scaling_of(block.parameter, block.rank), weights_, model_);
    if (modules.empty()) find_weight(checkpoint::expert_name(block.parameter, 0));  // for its error
    for (auto& module : modules) {
      const auto& weight = *weights_.find(module.weight());
      auto transposed = fit_of(module, weight, file_of(weight));
      // Parts would not lie one below the other in the block's lora_B.
      if (!transposed && module.out_features != block.out_features()) transposed = false;
      add(std::move(module), Orientation{transposed, true, true});
    }
  }

  void add(LoraModule module, const Orientation& orientation) {
    const bool patterns = !config_.rank_pattern.empty() || !config_.alpha_pattern.empty();
    if (patterns && module.alpha / static_cast<double>(module.rank) != config_.lora_alpha / config_.r) {
      relies_on_patterns_ = true;
    }
    modules_.add(std::move(module), orientation);
  }

  [[noreturn]] void throw_nothing_to_score(const checkpoint::Catalogue& file) {
    for (const auto& whole : {tensors_.whole_weights.all(), tensors_.base_layers.all()}) {
      tensors_.skipped.insert(tensors_.skipped.end(), whole.begin(), whole.end());
    }
    throw nothing_to_score(file);
  }

  Error nothing_to_score(const checkpoint::Catalogue& file) const {
    if (first_mismatch_) return *first_mismatch_;
    if (file.tensors.empty() || tensors_.skipped.empty()) {
      return bad_adapter("no LoRA tensors").file(adapter_.weights_file).expected("lora_A and lora_B of some module");
    }
    return bad_adapter(fmt::format("no LoRA tensors that can be scored: {} something else",
                                   counted(tensors_.skipped.size(), "tensor is", "tensors are")))
        .file(adapter_.weights_file)
        .tensor(tensors_.skipped.front().key)
        .expected(fmt::format("lora_A and lora_B of linear layers, found {}", tensors_.skipped.front().reason));
  }

  void settle_square_weights() {
    const std::string reason = "its experts are square, and no config.json says how they are stored";
    for (const auto& module : modules_.settle_square_weights(config_.fan_in_fan_out, model_, weights_)) {
      const auto& name = module.adapter_module();
      if (!first_mismatch_) {
        first_mismatch_ = bad_adapter(fmt::format("module {} cannot be judged: {}", name, reason))
                              .tensor(module.weight())
                              .advice("copy the model's config.json to its weights");
      }
      tensors_.unjudged.insert_or_assign(name, UnjudgedModule{name, reason, true});
    }
  }

  void finish() {
    auto modules = modules_.take();
    std::sort(modules.begin(), modules.end(), [](const auto& a, const auto& b) { return a.module() < b.module(); });
    require_different(modules);
    settle_rank(modules, adapter_.dense.all());
    adapter_.modules = std::move(modules);
    const bool low_rank_part = tensors_.dora || (config_.use_dora && !judges_dense());
    for (const auto& sentence : warnings_of(config_, tensors_, {low_rank_part, wrong_ranks_, relies_on_patterns_})) {
      warn(sentence);
    }
    std::vector<UnjudgedModule> unjudged;
    for (auto& [name, module] : tensors_.unjudged) unjudged.push_back(std::move(module));
    adapter_.unjudged = std::move(unjudged);
  }

  /// The configuration's, if any module has it.
  void settle_rank(const std::vector<LoraModule>& modules, const std::vector<DenseUpdate>& dense) {
    std::uint64_t largest = 0;
    bool has_own = false;
    const auto add = [&](std::uint64_t rank) {
      largest = std::max(largest, rank);
      has_own |= rank == adapter_.rank;
    };
    for (const auto& module : modules) add(module.rank);
    for (const auto& update : dense) add(update.rank);
    if (!has_own && largest != 0) adapter_.rank = largest;
  }

  static FactorLocation location_of(const TensorLocation& tensor) {
    return {tensor.offset, tensor.bytes, tensor.dtype};
  }

  void warn(std::string_view sentence) {
    if (!adapter_.warnings.empty()) adapter_.warnings += ' ';
    adapter_.warnings += sentence;
  }

  Adapter& adapter_;
  const checkpoint::Catalogue& weights_;
  const checkpoint::ModelConfig& model_;
  const AdapterOptions& options_;
  PeftConfig config_;
  std::optional<ScalingRules> rules_;
  std::optional<TargetParameters> targets_;
  std::optional<TargetModules> peft_targets_;
  AdapterTensors tensors_;
  ModuleList modules_;
  std::vector<ExpertBlock> blocks_;
  std::optional<Error> first_mismatch_;
  std::size_t wrong_ranks_ = 0;
  bool relies_on_patterns_ = false;
  Wrappings wrappings_;
};

}  // namespace

bool concerns_adapter_alone(const Error& error) {
  if (error.kind() == ErrorKind::invalid_input) return true;
  if (error.kind() != ErrorKind::runtime) return false;
  const auto number = error.os_error();
  return number != EMFILE && number != ENFILE && number != ENOMEM;
}

Adapter open_adapter(const std::string& directory, const checkpoint::Catalogue& weights,
                     const checkpoint::ModelConfig& model, const AdapterOptions& options, const base::Log& log) {
  Adapter adapter;
  adapter.path = directory;
  std::vector<Adapter> named{adapter};
  assign_unique_names(named);
  adapter.name = named.front().name;
  Opening opening(adapter, weights, model, options);
  try {
    opening.run(log);
  } catch (const CheckpointFault& fault) {
    throw Error(fault.error);
  } catch (const Error& error) {
    if (!concerns_adapter_alone(error)) throw;
    adapter.status = AdapterStatus::quarantined;
    adapter.reason = error.what();
    adapter.is_unreadable = error.kind() == ErrorKind::runtime;
    adapter.modules.clear();
    adapter.dense.clear();
  }
  adapter.skipped = opening.take_skipped();
  return adapter;
}

}  // namespace winnow::adapter
