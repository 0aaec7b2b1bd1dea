#include "winnow/adapter/peft_config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "winnow/base/error.hpp"
#include "winnow/base/text.hpp"

namespace winnow::adapter {

namespace {

using base::Error;
using base::ErrorKind;
using Json = nlohmann::ordered_json;  // the order of rank_pattern decides

// Every field of PEFT's LoraConfig up to 0.21, and of releases before it; the ones not read below do not change what
// A and B mean. Sorted, for binary search.
constexpr std::array<std::string_view, 50> kKnownKeys = {
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "enable_lora",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "merge_weights",
    "modules_to_save",
    "monteclora_config",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "target_modules_to_tie",
    "target_parameters",
    "task_type",
    "token_dim",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "use_rslora",
    "velora_config",
};
static_assert(std::is_sorted(kKnownKeys.begin(), kKnownKeys.end()));

// Variants with other shapes or extra factors; a switch is on if it is true or an object.
constexpr std::array<std::string_view, 5> kVariantKeys = {"use_qalora", "use_bdlora", "monteclora_config",
                                                          "kasa_config", "arrow_config"};

constexpr int kMaxConfigDepth = 100;  // real ones have two levels

Json parse_json(std::string_view text, std::string_view file) {
  if (text.size() > kMaxConfigBytes) {
    throw Error(ErrorKind::invalid_input, "adapter config is too large")
        .file(file)
        .expected(fmt::format("at most {} bytes, found {}", kMaxConfigBytes, text.size()));
  }
  // nlohmann keeps one of two equal keys without a word; which one PEFT saw is anybody's guess.
  std::vector<std::unordered_set<std::string>> seen;
  const auto check_keys = [&](int depth, Json::parse_event_t event, Json& value) {
    const bool opens = event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= kMaxConfigDepth) {  // a tree of values takes a hundred times the memory of its brackets
      throw Error(ErrorKind::invalid_input, "adapter config is not usable")
          .file(file)
          .expected(fmt::format("JSON, found values nested more than {} levels deep", kMaxConfigDepth));
    }
    if (event == Json::parse_event_t::object_start) {
      seen.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      seen.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!seen.back().insert(key).second) {
        throw Error(ErrorKind::invalid_input,
                    fmt::format("duplicate key \"{}\" in the adapter config", base::abbreviated(key, 200)))
            .file(file);
      }
      if (seen.back().size() > kMaxConfigKeys) {
        throw Error(ErrorKind::invalid_input, "too many keys in one object of the adapter config")
            .file(file)
            .expected(fmt::format("at most {}", kMaxConfigKeys));
      }
    }
    return true;
  };
  try {
    return Json::parse(text, check_keys);
  } catch (const Json::parse_error& error) {
    throw Error(ErrorKind::invalid_input, "adapter config is not valid JSON")
        .file(file)
        .expected(fmt::format("JSON in UTF-8, broken near byte {}", error.byte));
  } catch (const Json::exception&) {  // a number beyond the range of a double
    throw Error(ErrorKind::invalid_input, "adapter config is not valid JSON")
        .file(file)
        .expected("numbers in the range of a double");
  }
}

/// Typed access to the keys of a config; null counts as absent, as in PEFT.
class Fields {
 public:
  Fields(const Json& object, std::string_view file) : object_(object), file_(file) {}

  const Json* find(std::string_view key) const {
    const auto at = object_.find(std::string(key));
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  bool boolean(std::string_view key, bool otherwise) const {
    const auto* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) throw wrong_type(key, "true or false", *value);
    return value->get<bool>();
  }
  double number(std::string_view key, double otherwise) const {
    const auto* value = find(key);
    return value == nullptr ? otherwise : as_number(key, *value);
  }
  std::string string(std::string_view key, std::string_view otherwise) const {
    const auto* value = find(key);
    if (value == nullptr) return std::string(otherwise);
    if (!value->is_string()) throw wrong_type(key, "a string", *value);
    return value->get<std::string>();
  }
  std::vector<std::string> strings(std::string_view key) const {
    const auto* value = find(key);
    if (value == nullptr) return {};
    if (value->is_string()) return {value->get<std::string>()};
    if (!value->is_array()) throw wrong_type(key, "a list of strings", *value);
    std::vector<std::string> list;
    for (const auto& item : *value) {
      if (!item.is_string()) throw wrong_type(key, "a list of strings", item);
      list.push_back(item.get<std::string>());
    }
    return list;
  }
  std::optional<ModuleSelection> modules(std::string_view key) const {
    const auto* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return ModuleSelection{{}, value->get<std::string>()};
    return ModuleSelection{strings(key), {}};
  }
  std::vector<std::int64_t> integers(std::string_view key) const {
    const auto* value = find(key);
    if (value == nullptr) return {};
    std::vector<std::int64_t> list;
    const auto add = [&](const Json& item) {
      if (!item.is_number_integer()) throw wrong_type(key, "a whole number, or a list of them", item);
      list.push_back(item.get<std::int64_t>());
    };
    if (!value->is_array()) {
      add(*value);
    } else {
      std::for_each(value->begin(), value->end(), add);
    }
    return list;
  }
  PatternTable patterns(std::string_view key) const {
    const auto* value = find(key);
    if (value == nullptr) return {};
    if (!value->is_object()) throw wrong_type(key, "an object of pattern: number", *value);
    PatternTable table;
    for (const auto& [pattern, number] : value->items()) table.emplace_back(pattern, as_number(key, number));
    return table;
  }
  Error wrong_type(std::string_view key, std::string_view expected, const Json& found) const {
    return Error(ErrorKind::invalid_input, fmt::format("\"{}\" in the adapter config has the wrong type", key))
        .file(file_)
        .expected(fmt::format("{}, found {}", expected, found.type_name()));
  }

 private:
  double as_number(std::string_view key, const Json& value) const {
    if (!value.is_number()) throw wrong_type(key, "a number", value);
    const auto number = value.get<double>();
    if (!std::isfinite(number)) throw wrong_type(key, "a finite number", value);
    return number;
  }

  const Json& object_;
  std::string_view file_;
};

std::string initialisation(const Json& object, const Fields& fields) {
  const auto* value = fields.find("init_lora_weights");
  if (value == nullptr) return object.contains("init_lora_weights") ? "false" : "true";  // what is null is not true
  if (value->is_boolean()) return value->get<bool>() ? "true" : "false";
  if (!value->is_string()) throw fields.wrong_type("init_lora_weights", "true, false or a name", *value);
  auto text = value->get<std::string>();
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool is_on(const Json* value) {
  if (value == nullptr) return false;
  return value->is_boolean() ? value->get<bool>() : !(value->is_array() && value->empty());
}

void report_unknown_keys(const Json& object, std::string_view file, const base::Log& log) {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object.items()) {
    if (!std::binary_search(kKnownKeys.begin(), kKnownKeys.end(), key)) unknown.push_back(key);
  }
  if (unknown.empty()) return;
  log.warn(fmt::format("{}: keys not known here are ignored: {}", file,
                       base::abbreviated(fmt::format("{}", fmt::join(unknown, ", ")), 400)));
}

}  // namespace

PeftConfig parse_peft_config(std::string_view text, std::string_view file, const base::Log& log) {
  const auto json = parse_json(text, file);
  if (!json.is_object()) {
    throw Error(ErrorKind::invalid_input, "adapter config is not a JSON object").file(file);
  }
  const Fields fields(json, file);
  PeftConfig config;
  if (fields.find("peft_type") == nullptr) {
    throw Error(ErrorKind::invalid_input, "adapter config has no peft_type")
        .file(file)
        .expected("\"peft_type\": \"LORA\"");
  }
  config.peft_type = fields.string("peft_type", "");
  // Other methods use the same names for other things, so nothing more is read from their configs.
  if (config.peft_type != "LORA") return config;

  config.r = fields.number("r", config.r);
  config.lora_alpha = fields.number("lora_alpha", config.lora_alpha);
  config.use_rslora = fields.boolean("use_rslora", false);
  config.use_dora = fields.boolean("use_dora", false);
  config.fan_in_fan_out = fields.boolean("fan_in_fan_out", false);
  config.init_lora_weights = initialisation(json, fields);
  config.bias = fields.string("bias", config.bias);
  config.rank_pattern = fields.patterns("rank_pattern");
  config.alpha_pattern = fields.patterns("alpha_pattern");
  config.base_model = fields.string("base_model_name_or_path", "");
  config.revision = fields.string("revision", "");
  config.modules_to_save = fields.strings("modules_to_save");
  config.target_modules = fields.modules("target_modules");
  config.exclude_modules = fields.modules("exclude_modules").value_or(ModuleSelection{});
  config.layers_to_transform = fields.integers("layers_to_transform");
  config.layers_pattern = fields.strings("layers_pattern");
  config.target_parameters = fields.strings("target_parameters");
  config.layer_replication = is_on(fields.find("layer_replication"));
  config.activated_lora = is_on(fields.find("alora_invocation_tokens"));
  for (const auto key : kVariantKeys) {
    if (is_on(fields.find(key))) config.variants.emplace_back(key);
  }
  for (const auto* table : {&config.rank_pattern, &config.alpha_pattern}) {
    for (const auto& [pattern, value] : *table) {
      try {
        const Pattern check(pattern);
      } catch (const Error& error) {
        throw Error(ErrorKind::invalid_input, error.what()).file(file);
      }
    }
  }
  report_unknown_keys(json, file, log);
  return config;
}

}  // namespace winnow::adapter
