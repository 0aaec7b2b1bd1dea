#include "base_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "refusal.hpp"
#include "shipped_weight.hpp"
#include "winnow/adapter/storage_order.hpp"
#include "winnow/base/conversion.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/base/file.hpp"

namespace winnow::adapter {
namespace {

using checkpoint::TensorLocation;

constexpr std::uint64_t kAtOnce = 1U << 16U;  // numbers
constexpr std::array<std::string_view, 2> kBaseLayerLeaves{"weight", "bias"};
constexpr std::string_view kWeight = ".weight";

std::uint64_t count_of(const TensorLocation& tensor) {
  return std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::uint64_t{1}, std::multiplies<>());
}

/// Numbers of one tensor, some at a time.
class Numbers {
 public:
  Numbers(const std::string& file, const TensorLocation& tensor)
      : file_(base::File::open_for_reading(file)), tensor_(tensor) {}

  const double* read(std::uint64_t first, std::uint64_t count) {
    const auto size = base::element_bytes(tensor_.dtype);
    bytes_.resize(count * size);
    values_.resize(count);
    file_.read_exact(tensor_.offset + first * size, bytes_);
    base::to_double(tensor_.dtype, bytes_.data(), count, values_.data());
    return values_.data();
  }

 private:
  base::File file_;
  const TensorLocation& tensor_;
  std::vector<std::byte> bytes_;
  std::vector<double> values_;
};

/// The model's weight. What is wrong with it is not the adapter's fault.
class ModelNumbers {
 public:
  ModelNumbers(const checkpoint::Catalogue& aligned, const TensorLocation& tensor) {
    reading([&] { numbers_.emplace(aligned.shards.at(tensor.shard).path, tensor); });
  }
  const double* read(std::uint64_t first, std::uint64_t count) {
    const double* found = nullptr;
    reading([&] { found = numbers_->read(first, count); });
    return found;
  }

 private:
  template <class Read>
  static void reading(Read read) {
    try {
      read();
    } catch (const base::Error& error) {
      throw CheckpointFault{error};
    }
  }

  std::optional<Numbers> numbers_;
};

/// Whether a file's tensor is what becomes of a checkpoint's.
bool is_copy(const std::string& file, const TensorLocation& own, const checkpoint::Catalogue& checkpoint,
             const TensorLocation& models) {
  Numbers from_file(file, own);
  ModelNumbers from_model(checkpoint, models);
  const auto count = count_of(models);
  std::uint8_t conversions = base::kAnyConversion;
  for (std::uint64_t first = 0; first < count && conversions != 0; first += kAtOnce) {
    const auto some = std::min(kAtOnce, count - first);
    conversions = base::conversions_of(from_model.read(first, some), from_file.read(first, some), some, conversions);
  }
  return conversions != 0;
}

/// Likewise of one of that name, if the checkpoint has one that is alike.
bool is_copy_of(const std::string& file, const TensorLocation& own, const checkpoint::Catalogue& checkpoint,
                const std::string& name) {
  const auto* models = checkpoint.find(name);
  return models != nullptr && models->shape == own.shape && base::is_computable(models->dtype) &&
         is_copy(file, own, checkpoint, *models);
}

}  // namespace

std::string base_layer_reason() { return "base weight that PEFT puts in the place of the model's"; }

void BaseLayers::add(const AdapterKey& key, const std::string& tensor, const TensorLocation& location) {
  const auto found = std::find_if(kBaseLayerLeaves.begin(), kBaseLayerLeaves.end(), [&](std::string_view leaf) {
    return key.prefixed && tensor.ends_with(fmt::format("{}.base_layer.{}", key.module, leaf));
  });
  tensors_.push_back({tensor, key.module, found == kBaseLayerLeaves.end() ? "" : std::string(*found), &location});
}

bool BaseLayers::any_is_loaded(const TargetModules& targets) const {
  return std::any_of(tensors_.begin(), tensors_.end(),
                     [&](const auto& tensor) { return !tensor.leaf.empty() && targets.makes_lora_of(tensor.module); });
}

std::vector<SkippedTensor> BaseLayers::all() const {
  std::vector<SkippedTensor> all;
  for (const auto& tensor : tensors_) all.push_back({tensor.key, base_layer_reason()});
  return all;
}

BaseLayers::Compared BaseLayers::compared(const std::string& weights_file, const Models& models,
                                          const TargetModules& targets, const Wrappings& wrappings) const {
  Compared all;
  for (const auto& [key, module, leaf, location] : tensors_) {
    const auto refuse = [&, &name = key](std::string reason) { all.refused.push_back({name, std::move(reason)}); };
    if (leaf.empty() || !targets.refusal(module).empty()) {
      refuse("base weight under a key that PEFT does not load");
      continue;
    }
    std::optional<MappedWeight> found;
    try {
      found = find_module(module, models.aligned, models.config);
    } catch (const base::Error& error) {
      refuse(error.what());
      continue;
    }
    const bool is_weight = leaf == "weight";
    auto name = found ? found->weight : std::string();
    if (found && !is_weight) name = fmt::format("{}.{}", name.substr(0, name.size() - kWeight.size()), leaf);
    const auto* weight = models.aligned.find(name);
    if (weight == nullptr) {
      refuse("base weight that the checkpoint does not have");
      continue;
    }
    if (!wrappings.is_chosen({found->module, module, found->weight})) {
      refuse("base weight under a key that PEFT does not load");
      continue;
    }
    if (auto reason = mismatch_of("base weight", *location, *weight); !reason.empty()) {
      refuse(std::move(reason));
      continue;
    }
    if (is_copy(weights_file, *location, models.aligned, *weight)) {
      all.unchanged += count_of(*weight);
    } else if (&models.base != &models.aligned && is_copy_of(weights_file, *location, models.base, name)) {
      refuse("base weight that is the base model's: on the aligned model it takes alignment back");
    } else if (!is_weight) {
      refuse("bias of a base layer, another than the checkpoint's");
    } else if (weight->shape.size() != 2) {
      refuse("base weight that is not the checkpoint's, and no matrix");
    } else {
      all.changed.push_back({key, module, *std::move(found), location});
    }
  }
  return all;
}

DenseUpdate replaced_update(const BaseLayers::Changed& changed, const LoraModule* lora,
                            const checkpoint::ModelConfig& model) {
  const auto& [key, module, weight, location] = changed;
  DenseUpdate update;
  update.names = lora != nullptr
                     ? lora->names
                     : std::make_shared<const ModuleNames>(ModuleNames{weight.module, module, weight.weight});
  update.stored_transposed = lora != nullptr ? lora->stored_transposed : is_conv1d(weight.module, model);
  update.out_features = location->shape.at(update.stored_transposed ? 1 : 0);
  update.in_features = location->shape.at(update.stored_transposed ? 0 : 1);
  update.weight = {location->offset, location->bytes, location->dtype};
  if (lora == nullptr) return update;
  update.rank = lora->rank;
  update.scale = lora->scale;
  update.lora_a = lora->lora_a;
  update.lora_b = lora->lora_b;
  return update;
}

}  // namespace winnow::adapter
