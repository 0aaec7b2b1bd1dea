#include "adapter_tensors.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "refusal.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/treatment.hpp"

namespace winnow::adapter {
namespace {

using checkpoint::TensorLocation;

class Sorting {
 public:
  Sorting(const std::string& weights_file, const Judged& judged, AdapterTensors& to)
      : weights_file_(weights_file), judged_(judged), to_(to) {}

  void add(const std::string& name, const TensorLocation& location) {
    const auto key = parse_adapter_key(name);
    to_.unprefixed += key.prefixed ? 0U : 1U;
    to_.has_prefixed |= key.prefixed;
    check_adapter_name(key);
    const auto skip = [&](std::string reason) {
      if (is_lora_factor(key.kind) && key.kind != KeyKind::lora_b_bias && key.kind != KeyKind::magnitude) {
        to_.unjudged.try_emplace(key.module, UnjudgedModule{key.module, reason, false});
      }
      to_.skipped.push_back({name, std::move(reason)});
    };
    switch (key.kind) {
      case KeyKind::lora_a:
      case KeyKind::lora_b:
        if (location.shape.size() > 2) {
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
        if (judged_.dense && judged_.is_dora) {
          add_magnitude(key, name, location);
        } else {
          if (!judged_.low_rank_part) throw bad_adapter(dora_reason()).tensor(name);
          to_.dora = true;
          skip("magnitude of DoRA");
        }
        break;
      case KeyKind::other_factor:
        throw bad_adapter(fmt::format("{} is not a factor of a plain LoRA", key.factor))
            .file(weights_file_)
            .tensor(name)
            .expected("lora_A.weight and lora_B.weight");
      case KeyKind::trainable_tokens:
        skip("trained token embeddings");
        break;
      case KeyKind::base_layer:
        if (judged_.dense) {
          to_.base_layers.add(key, name, location);
        } else {
          skip(base_layer_reason() + (judged_.could_be_dense ? "; --aligned DIR tells whether it is a copy" : ""));
        }
        break;
      case KeyKind::full_weight:
        to_.whole_weight_is_loaded |= key.prefixed && key.is_weight;
        if (judged_.dense) {
          to_.whole_weights.add(key, name, location);
        } else {
          skip(whole_weight_reason() + (judged_.could_be_dense ? "; --aligned DIR compares it with the weight" : ""));
        }
        break;
      case KeyKind::bias:
        skip("trained bias");
        break;
    }
  }

 private:
  void check_adapter_name(const AdapterKey& key) {
    if (!is_lora_factor(key.kind)) return;
    if (!adapter_name_) adapter_name_ = key.adapter_name;
    if (*adapter_name_ != key.adapter_name) {
      throw bad_adapter("the file holds more than one adapter")
          .file(weights_file_)
          .expected(fmt::format("one, found \"{}\" and \"{}\"", *adapter_name_, key.adapter_name));
    }
  }

  base::Error twice(const AdapterKey& key, const std::string& name) const {  // base_model.model.x and x, both
    return bad_adapter(fmt::format("two tensors are the {} of module {}", key.factor, key.module))
        .file(weights_file_)
        .tensor(name);
  }

  void add_factor(const AdapterKey& key, const std::string& name, const TensorLocation& location) {
    auto& factors = to_.factors[key.module];
    const bool is_a = key.kind == KeyKind::lora_a;
    auto& slot = is_a ? factors.a : factors.b;
    if (slot != nullptr) throw twice(key, name);
    slot = &location;
    (is_a ? factors.a_key : factors.b_key) = name;
  }

  void add_magnitude(const AdapterKey& key, const std::string& name, const TensorLocation& location) {
    if (!to_.magnitudes.emplace(key.module, &location).second) throw twice(key, name);
  }

  const std::string& weights_file_;
  const Judged& judged_;
  AdapterTensors& to_;
  std::optional<std::string> adapter_name_;
};

}  // namespace

void AdapterTensors::leave_out(const std::string& module, const std::string& reason) {
  skip(factors.extract(module).mapped(), reason);
  unjudged.insert_or_assign(module, UnjudgedModule{module, reason, false});
}

void AdapterTensors::skip(const FileFactors& module, const std::string& reason) {
  for (const auto& key : {module.a_key, module.b_key}) {
    if (!key.empty()) skipped.push_back({key, reason});
  }
}

void sort_tensors(const checkpoint::Catalogue& file, const std::string& weights_file, const Judged& judged,
                  AdapterTensors& to) {
  Sorting sorting(weights_file, judged, to);
  for (const auto& [name, location] : file.tensors) sorting.add(name, location);
}

}  // namespace winnow::adapter
