#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/adapter/treatment.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using checkpoint::TensorLocation;

Error bad_adapter(std::string what) { return {ErrorKind::invalid_input, std::move(what)}; }

/// No update has a rank above its dimensions, but that of a layer with few outputs (a router) may be given one.
constexpr std::uint64_t kLargestOddRank = 1024;

/// What `path` is, links followed. Throws where that cannot be found out: what cannot be looked at is not missing.
fs::file_type type_of(const fs::path& path) {
  std::error_code error;
  const auto type = fs::status(path, error).type();
  if (type != fs::file_type::none) return type;
  throw Error(ErrorKind::runtime, "cannot look at adapter").file(path.string()).os_error(error.value());
}

std::string counted(std::size_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string shape_text(const std::vector<std::uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// The factors of one module as its file holds them.
struct Factors {
  const TensorLocation *a = nullptr, *b = nullptr;
  std::string a_key, b_key;
};

/// Whether the weight is stored [in, out]; nothing where its shape does not tell.
std::optional<bool> stored_transposed(const LoraModule& module, const std::vector<std::uint64_t>& shape) {
  const bool straight = shape[0] == module.out_features && shape[1] == module.in_features;
  const bool transposed = shape[0] == module.in_features && shape[1] == module.out_features;
  if (!straight && !transposed) {
    throw bad_adapter(fmt::format("module {} does not fit the checkpoint", module.adapter_module))
        .tensor(module.weight)
        .expected(fmt::format("[{}, {}] or its transpose as lora_B and lora_A say, found {}", module.out_features,
                              module.in_features, shape_text(shape)));
  }
  if (straight && transposed) return std::nullopt;
  return transposed;
}

/// Opens one adapter; throws Error(invalid_input) for whatever is wrong with it.
class Opening {
 public:
  Opening(Adapter& adapter, const checkpoint::Catalogue& weights, const checkpoint::ModelConfig& model,
          const AdapterOptions& options)
      : adapter_(adapter), weights_(weights), model_(model), options_(options) {}

  void run(const base::Log& log) {
    find_files();
    const auto file = checkpoint::read_safetensors_file(adapter_.weights_file);
    // After the header, which tells the size: a file made to be endless is refused before it is read whole.
    adapter_.sha256 = base::sha256_file(adapter_.weights_file);
    read_config(log);
    collect_factors(file);
    for (const auto& [module, factors] : factors_) add_module(module, factors);
    if (adapter_.modules.empty()) throw nothing_to_score(file);
    settle_square_weights();
    finish();
    adapter_.digest = digest();
  }

 private:
  std::string digest() const {
    auto text = fmt::format("{} {}\n", adapter_.sha256, config_.use_dora ? "dora" : "lora");
    for (const auto& module : adapter_.modules) {
      text +=
          fmt::format("{} {:a} {}\n", module.adapter_module, module.scale, module.stored_transposed ? "turned" : "");
    }
    return base::sha256_hex(text);
  }

  void find_files() {
    const fs::path directory(adapter_.path);
    const auto type = type_of(directory);
    if (type == fs::file_type::not_found) throw bad_adapter("no such adapter directory").file(adapter_.path);
    if (type != fs::file_type::directory) {
      throw bad_adapter("an adapter is a directory, not a file")
          .file(adapter_.path)
          .expected("a directory with adapter_config.json and adapter_model.safetensors")
          .advice("give the directory that holds the file; many adapters in one directory, or a list of them: --zoo");
    }
    const auto config = directory / "adapter_config.json", weights = directory / "adapter_model.safetensors";
    if (type_of(config) == fs::file_type::not_found) {
      throw bad_adapter("adapter_config.json is missing").file(adapter_.path);
    }
    std::error_code ignored;
    if (const auto pickle = directory / "adapter_model.bin";
        type_of(weights) == fs::file_type::not_found && fs::exists(pickle, ignored)) {
      throw bad_adapter("adapter_model.bin is a pickle, which can run any code when opened")
          .file(pickle.string())
          .expected("adapter_model.safetensors")
          .advice("convert it with PEFT's save_pretrained");
    }
    if (type_of(weights) == fs::file_type::not_found) {
      throw bad_adapter("adapter_model.safetensors is missing").file(adapter_.path);
    }
    // Opening any of them refuses what is no plain file, as a pipe that nobody writes to.
    config_file_ = config.string();
    adapter_.weights_file = weights.string();
  }

  void read_config(const base::Log& log) {
    config_ = parse_peft_config(base::read_text_file(config_file_, kMaxConfigBytes), config_file_, log);
    auto reason = quarantine_reason(config_, options_.allow_dora);
    if (!reason.empty()) throw bad_adapter(std::move(reason));
    rules_.emplace(config_);
    adapter_.rank = static_cast<std::uint64_t>(std::min(config_.r, 1e9));
    adapter_.alpha = config_.lora_alpha;
    adapter_.scale =
        options_.unit_scale ? 1 : config_.lora_alpha / (config_.use_rslora ? std::sqrt(config_.r) : config_.r);
  }

  void collect_factors(const checkpoint::Catalogue& file) {
    for (const auto& [name, location] : file.tensors) {
      const auto key = parse_adapter_key(name);
      unprefixed_ += key.prefixed ? 0U : 1U;
      check_adapter_name(key);
      const auto skip = [&, &tensor = name](std::string reason) {
        if (is_lora_factor(key.kind) && key.kind != KeyKind::lora_b_bias && key.kind != KeyKind::magnitude) {
          unjudged_.try_emplace(key.module, UnjudgedModule{key.module, reason, false});
        }
        adapter_.skipped.push_back({tensor, std::move(reason)});
      };
      switch (key.kind) {
        case KeyKind::lora_a:
        case KeyKind::lora_b:
          if (is_fused_experts(key.module)) {
            skip("LoRA on a fused block of experts");
          } else if (location.shape.size() > 2) {
            skip("LoRA on a convolution");
          } else {
            add_factor(key, name, location);
          }
          break;
        case KeyKind::lora_b_bias:
          skip("bias of lora_B: it is no part of the weight's update");
          break;
        case KeyKind::embedding_a:
        case KeyKind::embedding_b:
          skip("LoRA on an embedding");
          break;
        case KeyKind::magnitude:
          if (!options_.allow_dora) throw bad_adapter(dora_reason()).tensor(name);
          dora_ = true;
          skip("magnitude of DoRA");
          break;
        case KeyKind::other_factor:
          throw bad_adapter(fmt::format("{} is not a factor of a plain LoRA", key.factor))
              .file(adapter_.weights_file)
              .tensor(name)
              .expected("lora_A.weight and lora_B.weight");
        case KeyKind::trainable_tokens:
          skip("trained token embeddings");
          break;
        case KeyKind::base_layer:
          skip("copy of a base weight");
          break;
        case KeyKind::full_weight:
          skip("full weight, not a LoRA factor (modules_to_save)");
          break;
        case KeyKind::bias:
          skip("trained bias");
          break;
      }
    }
  }

  void check_adapter_name(const AdapterKey& key) {
    if (!is_lora_factor(key.kind)) return;
    if (!adapter_name_) adapter_name_ = key.adapter_name;
    if (*adapter_name_ != key.adapter_name) {
      throw bad_adapter("the file holds more than one adapter")
          .file(adapter_.weights_file)
          .expected(fmt::format("one, found \"{}\" and \"{}\"", *adapter_name_, key.adapter_name));
    }
  }

  void add_factor(const AdapterKey& key, const std::string& name, const TensorLocation& location) {
    auto& factors = factors_[key.module];
    const bool is_a = key.kind == KeyKind::lora_a;
    auto& slot = is_a ? factors.a : factors.b;
    if (slot != nullptr) {  // base_model.model.x and x, both
      throw bad_adapter(fmt::format("two tensors are the {} of module {}", key.factor, key.module))
          .file(adapter_.weights_file)
          .tensor(name);
    }
    slot = &location;
    (is_a ? factors.a_key : factors.b_key) = name;
  }

  void add_module(const std::string& name, const Factors& factors) {
    check_factors(name, factors);
    try {
      map_factors(name, factors);
    } catch (const Mismatch& mismatch) {
      if (!first_mismatch_) first_mismatch_ = mismatch.error;
      unjudged_.insert_or_assign(name, UnjudgedModule{name, mismatch.reason, true});
    }
  }

  /// A module that is not in the checkpoint as the adapter has it, which says nothing about its neighbours.
  struct Mismatch {
    std::string reason;  ///< without the module's name: many modules have the same
    Error error;         ///< for an adapter of which nothing is left
  };

  MappedWeight find_weight(const std::string& name) const {
    if (auto found = find_module(name, weights_, model_)) return *std::move(found);
    try {
      return map_module(name, weights_, model_);  // for its error
    } catch (const Error& error) {
      if (options_.whole_model && lies_beyond_last_layer(name, weights_)) throw;
      throw Mismatch{"no tensor of the checkpoint matches it", error};
    }
  }

  void map_factors(const std::string& name, const Factors& factors) {
    LoraModule module;
    module.adapter_module = name;
    module.rank = factors.a->shape[0];
    module.in_features = factors.a->shape[1];
    module.out_features = factors.b->shape[0];
    module.lora_a = *factors.a;
    module.lora_b = *factors.b;

    auto mapped = find_weight(name);
    module.module = std::move(mapped.module);
    module.weight = std::move(mapped.weight);
    if (mapped.location->shape.size() != 2) {
      throw Mismatch{"its weight is not a matrix",
                     bad_adapter(fmt::format("module {} is not a linear layer", name))
                         .tensor(module.weight)
                         .expected(fmt::format("a matrix, found {}", shape_text(mapped.location->shape)))};
    }
    if (!base::is_computable(mapped.location->dtype)) {
      throw Mismatch{fmt::format("its weight is of dtype {}", base::name(mapped.location->dtype)),
                     bad_adapter(fmt::format("the weight of module {} cannot be computed on", name))
                         .tensor(module.weight)
                         .expected(fmt::format("F64, F32, F16 or BF16, found {}", base::name(mapped.location->dtype)))};
    }
    const auto transposed = fit(module, mapped.location->shape);
    module.stored_transposed = transposed.value_or(false);
    if (mapped.tied) warn(fmt::format("{} is tied and measured on {}.", name, module.weight));

    const auto scaling = rules_->scaling(name, module.rank);
    module.alpha = scaling.alpha;
    module.scale = options_.unit_scale ? 1 : scaling.scale;
    if (static_cast<double>(module.rank) != rules_->configured_rank(name)) ++wrong_ranks_;
    const bool patterns = !config_.rank_pattern.empty() || !config_.alpha_pattern.empty();
    if (patterns && scaling.alpha / static_cast<double>(module.rank) != config_.lora_alpha / config_.r) {
      relies_on_patterns_ = true;
    }
    adapter_.modules.push_back(std::move(module));
    transposed_.push_back(transposed);
  }

  /// A vocabulary grows with the tokens that an adapter adds. Any other layer of another shape is of another model.
  static std::optional<bool> fit(const LoraModule& module, const std::vector<std::uint64_t>& shape) {
    try {
      return stored_transposed(module, shape);
    } catch (const Error& error) {
      if (!is_output_head(module.adapter_module)) throw;
      throw Mismatch{"the checkpoint's vocabulary has another size", error};
    }
  }

  void check_factors(const std::string& module, const Factors& factors) const {
    if (factors.a == nullptr || factors.b == nullptr) {
      throw bad_adapter(fmt::format("module {} has {} without {}", module, factors.a ? "lora_A" : "lora_B",
                                    factors.a ? "lora_B" : "lora_A"))
          .file(adapter_.weights_file);
    }
    for (const auto& [factor, key] : {std::pair(factors.a, factors.a_key), std::pair(factors.b, factors.b_key)}) {
      const auto& shape = factor->shape;
      if (shape.size() != 2 || std::find(shape.begin(), shape.end(), 0U) != shape.end()) {
        const bool rank_zero = shape.size() == 2 && (factor == factors.a ? shape[0] : shape[1]) == 0;
        throw bad_adapter(rank_zero ? fmt::format("module {} has rank 0", module)
                                    : fmt::format("a factor of module {} is not a matrix", module))
            .file(adapter_.weights_file)
            .tensor(key)
            .expected(fmt::format("two dimensions above 0, found {}", shape_text(shape)))
            .advice("sharded training must gather its parameters before saving");
      }
      if (!base::is_computable(factor->dtype)) {
        throw bad_adapter(fmt::format("a factor of module {} cannot be computed on", module))
            .file(adapter_.weights_file)
            .tensor(key)
            .expected(fmt::format("F64, F32, F16 or BF16, found {}", base::name(factor->dtype)));
      }
    }
    const auto rank = factors.a->shape[0], largest = std::max(factors.a->shape[1], factors.b->shape[0]);
    if (rank > std::max(largest, kLargestOddRank)) {
      throw bad_adapter(fmt::format("module {} has a rank above that of any update", module))
          .file(adapter_.weights_file)
          .tensor(factors.a_key)
          .expected(fmt::format("at most {}, found {}", std::max(largest, kLargestOddRank), rank));
    }
    if (factors.a->shape[0] != factors.b->shape[1]) {
      throw bad_adapter(fmt::format("the factors of module {} differ in rank", module))
          .file(adapter_.weights_file)
          .expected(fmt::format("lora_A [r, in] and lora_B [out, r], found {} and {}", shape_text(factors.a->shape),
                                shape_text(factors.b->shape)));
    }
  }

  Error nothing_to_score(const checkpoint::Catalogue& file) const {
    if (first_mismatch_) return *first_mismatch_;
    if (file.tensors.empty() || adapter_.skipped.empty()) {
      return bad_adapter("no LoRA tensors").file(adapter_.weights_file).expected("lora_A and lora_B of some module");
    }
    return bad_adapter(fmt::format("no LoRA tensors that can be scored: {} something else",
                                   counted(adapter_.skipped.size(), "tensor is", "tensors are")))
        .file(adapter_.weights_file)
        .tensor(adapter_.skipped.front().key)
        .expected(fmt::format("lora_A and lora_B of linear layers, found {}", adapter_.skipped.front().reason));
  }

  /// A square weight does not show how it is stored. All layers of a model are stored alike, so the adapter's other
  /// layers tell where they agree; otherwise fan_in_fan_out does, which PEFT saves as what the layers really were.
  void settle_square_weights() {
    const auto count = [&](bool value) {
      return std::count(transposed_.begin(), transposed_.end(), std::optional(value));
    };
    const bool all_transposed = count(true) > 0 && count(false) == 0;
    const bool all_straight = count(false) > 0 && count(true) == 0;
    const bool square = all_transposed || (config_.fan_in_fan_out && !all_straight);
    for (std::size_t i = 0; i < transposed_.size(); ++i) {
      if (!transposed_[i]) adapter_.modules[i].stored_transposed = square;
    }
  }

  void finish() {
    auto& modules = adapter_.modules;
    std::sort(modules.begin(), modules.end(), [](const auto& a, const auto& b) { return a.module < b.module; });
    for (std::size_t i = 1; i < modules.size(); ++i) {
      if (modules[i].weight == modules[i - 1].weight) {
        throw bad_adapter("two modules of the adapter are the same tensor of the checkpoint")
            .tensor(modules[i].weight)
            .expected(fmt::format("one, found {} and {}", modules[i - 1].adapter_module, modules[i].adapter_module));
      }
    }
    const auto larger = [](const auto& a, const auto& b) { return a.rank < b.rank; };
    if (std::none_of(modules.begin(), modules.end(), [&](const auto& m) { return m.rank == adapter_.rank; })) {
      adapter_.rank = std::max_element(modules.begin(), modules.end(), larger)->rank;
    }
    if (dora_ || config_.use_dora) warn("A DoRA adapter: only its s*B*A part is scored.");
    if (config_.activated_lora) warn("An activated LoRA (aLoRA): its update applies only after the invocation tokens.");
    if (!adapter_.skipped.empty()) {
      warn(fmt::format("{} not scored, the first {} ({}).",
                       counted(adapter_.skipped.size(), "tensor is", "tensors are"), adapter_.skipped.front().key,
                       adapter_.skipped.front().reason));
    }
    for (auto& [name, module] : unjudged_) adapter_.unjudged.push_back(std::move(module));
    const auto mismatch = std::find_if(adapter_.unjudged.begin(), adapter_.unjudged.end(),
                                       [](const auto& module) { return module.mismatch; });
    if (mismatch != adapter_.unjudged.end()) {
      const auto count = std::count_if(mismatch, adapter_.unjudged.end(), [](const auto& m) { return m.mismatch; });
      warn(fmt::format("{} not judged, the first {}: {}.",
                       counted(static_cast<std::size_t>(count), "module is", "modules are"), mismatch->module,
                       mismatch->reason));
    }
    if (wrong_ranks_ > 0) {
      warn(fmt::format("{} another rank than the config says; PEFT does not load {}.",
                       counted(wrong_ranks_, "module has", "modules have"), wrong_ranks_ == 1 ? "it" : "them"));
    }
    if (unprefixed_ > 0) {
      warn(fmt::format("{} the prefix base_model.model.; PEFT does not load {}.",
                       counted(unprefixed_, "key lacks", "keys lack"), unprefixed_ == 1 ? "it" : "them"));
    }
    if (config_.use_rslora || relies_on_patterns_) {
      warn(fmt::format("llama.cpp ignores {} and applies another scale.",
                       !relies_on_patterns_  ? "rsLoRA"
                       : !config_.use_rslora ? "rank_pattern and alpha_pattern"
                                             : "rsLoRA, rank_pattern and alpha_pattern"));
    }
  }

  void warn(std::string_view sentence) {
    if (!adapter_.warnings.empty()) adapter_.warnings += ' ';
    adapter_.warnings += sentence;
  }

  Adapter& adapter_;
  const checkpoint::Catalogue& weights_;
  const checkpoint::ModelConfig& model_;
  const AdapterOptions& options_;
  std::string config_file_;
  PeftConfig config_;
  std::optional<ScalingRules> rules_;
  std::map<std::string, Factors> factors_;
  std::vector<std::optional<bool>> transposed_;  // of adapter_.modules, until they are sorted
  std::map<std::string, UnjudgedModule> unjudged_;
  std::optional<Error> first_mismatch_;
  std::optional<std::string> adapter_name_;
  std::size_t unprefixed_ = 0, wrong_ranks_ = 0;
  bool dora_ = false, relies_on_patterns_ = false;
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
  try {
    Opening(adapter, weights, model, options).run(log);
  } catch (const Error& error) {
    if (!concerns_adapter_alone(error)) throw;
    adapter.status = AdapterStatus::quarantined;
    adapter.reason = error.what();
    adapter.modules.clear();
  }
  return adapter;
}

}  // namespace winnow::adapter
