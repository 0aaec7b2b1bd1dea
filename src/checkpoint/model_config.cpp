#include "winnow/checkpoint/model_config.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "json_events.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/text.hpp"

namespace winnow::checkpoint {
namespace {

using base::Error;
using base::ErrorKind;
using nlohmann::json;

constexpr std::uint64_t kMaxConfigBytes = 16U << 20;  // real ones have some kilobytes

class ConfigReader {
 public:
  explicit ConfigReader(std::string path) : path_(std::move(path)) {}

  ModelConfig read(const std::string& text) const {
    const auto root = parse(text);
    const auto* nested = text_part(root);
    refuse_quantized(root);
    if (nested != nullptr) refuse_quantized(*nested);

    ModelConfig config;
    if (const auto* names = find(root, "architectures")) {
      if (!names->is_array()) throw wrong_type("architectures", "an array of names", *names);
      if (!names->empty()) config.architecture = text_of(names->front(), "architectures[0]");
    }
    if (const auto* type = find(root, "model_type")) config.model_type = text_of(*type, "model_type");
    if (const auto* type = nested == nullptr ? nullptr : find(*nested, "model_type")) {
      config.model_type += "/" + text_of(*type, "model_type");
    }
    for (const auto& [object, key] :
         {std::pair(&root, "num_hidden_layers"), std::pair(&root, "n_layer"), std::pair(nested, "num_hidden_layers")}) {
      if (object == nullptr || config.num_hidden_layers) continue;
      if (const auto* layers = find(*object, key)) {
        if (!layers->is_number_unsigned()) throw wrong_type(key, "a number of layers", *layers);
        config.num_hidden_layers = layers->get<std::uint64_t>();
      }
    }
    for (const auto* object : {&root, nested}) {
      if (object == nullptr || config.tie_word_embeddings) continue;
      if (const auto* tied = find(*object, "tie_word_embeddings")) {
        if (!tied->is_boolean()) throw wrong_type("tie_word_embeddings", "true or false", *tied);
        config.tie_word_embeddings = tied->get<bool>();
      }
    }
    config.heads = heads_of(root, nested);
    return config;
  }

  AttentionHeads read_heads(const std::string& text) const {
    const auto root = parse(text);
    return heads_of(root, text_part(root));
  }

 private:
  /// Of models with more than one tower; InternVL's own files have the second.
  const json* text_part(const json& root) const {
    const auto* name = find(root, "text_config") != nullptr ? "text_config" : "llm_config";
    const auto* nested = find(root, name);
    if (nested != nullptr && !nested->is_object()) throw wrong_type(name, "an object", *nested);
    return nested;
  }

  /// What is no number, such as a list with one for each layer, counts as not told: it is needed for --heads alone.
  static AttentionHeads heads_of(const json& root, const json* nested) {
    const auto& object = nested != nullptr && find(*nested, "num_attention_heads") != nullptr ? *nested : root;
    // The first of these names that is there.
    const auto number = [&](std::initializer_list<const char*> keys) -> std::uint64_t {
      for (const auto* key : keys) {
        if (const auto* value = find(object, key)) return value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
      }
      return 0;
    };
    constexpr std::uint64_t kMost = 1U << 20;  // so that no product of two leaves 64 bits
    AttentionHeads heads{number({"num_attention_heads", "n_head", "num_heads"}), number({"num_key_value_heads"}),
                         number({"head_dim"})};
    const auto hidden = number({"hidden_size", "n_embd"});
    if (find(object, "num_key_value_heads") == nullptr) heads.key_value = heads.query;
    if (find(object, "head_dim") == nullptr && heads.query != 0 && hidden % heads.query == 0) {
      heads.width = hidden / heads.query;
    }
    if (heads.query == 0 || heads.key_value == 0 || heads.width == 0 || heads.query % heads.key_value != 0) return {};
    if (heads.query > kMost || heads.width > kMost) return {};
    for (const auto* of : {&root, nested}) {
      const auto* type = of == nullptr ? nullptr : find(*of, "model_type");
      if (type == nullptr || !type->is_string()) continue;
      const auto name = type->get<std::string>();
      heads.joined |= name.starts_with("phi3") || name.starts_with("phi4");
    }
    return heads;
  }

  Error refused(std::string what) const { return Error(ErrorKind::invalid_input, std::move(what)).file(path_); }
  Error wrong_type(std::string_view key, std::string_view expected, const json& found) const {
    return refused(fmt::format("{} has the wrong type", key))
        .expected(fmt::format("{}, found {}", expected, shown(found)));
  }
  static std::string shown(const json& value) { return base::abbreviated(value.dump(-1, ' ', true), 60); }

  json parse(const std::string& text) const {
    try {
      auto root = json::parse(text);
      if (!root.is_object()) throw refused("config is not a JSON object").expected("{\"model_type\": ...}");
      return root;
    } catch (const json::exception& error) {
      throw refused(fmt::format("config is not valid JSON: {}", json_error_text(error.what())));
    }
  }

  // null counts as absent, as it does in Python.
  static const json* find(const json& object, std::string_view key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  std::string text_of(const json& value, std::string_view key) const {
    if (!value.is_string()) throw wrong_type(key, "a string", value);
    return value.get<std::string>();
  }
  void refuse_quantized(const json& object) const {
    const auto* quantization = find(object, "quantization_config");
    if (quantization == nullptr) return;
    std::string method = "quantized weights";
    if (quantization->is_object() && quantization->contains("quant_method")) {
      method = fmt::format("quant_method {}", shown((*quantization)["quant_method"]));
    }
    throw refused("checkpoint is quantized (quantization_config)")
        .expected(fmt::format("weights in F64, F32, F16 or BF16, found {}", method))
        .advice("an update against quantized weights is not defined here: give the checkpoint before quantization");
  }

  std::string path_;
};

template <class T>
void put_optional(base::ByteWriter& out, const std::optional<T>& value) {
  out.put(value.has_value());
  out.put(value.value_or(T{}));
}

template <class T>
std::optional<T> get_optional(base::ByteReader& in) {
  const bool present = in.get<bool>();
  const auto value = in.get<T>();
  return present ? std::optional(value) : std::nullopt;
}

}  // namespace

void ModelConfig::serialise(base::ByteWriter& out) const {
  out.put(architecture);
  out.put(model_type);
  put_optional(out, num_hidden_layers);
  put_optional(out, tie_word_embeddings);
  out.put(heads);
}

ModelConfig ModelConfig::deserialise(base::ByteReader& in) {
  ModelConfig config;
  config.architecture = in.get_string();
  config.model_type = in.get_string();
  config.num_hidden_layers = get_optional<std::uint64_t>(in);
  config.tie_word_embeddings = get_optional<bool>(in);
  config.heads = in.get<AttentionHeads>();
  return config;
}

ModelConfig read_model_config(const std::string& directory) {
  const auto path = (std::filesystem::path(directory) / "config.json").string();
  const auto text = base::read_text_file_if_exists(path, kMaxConfigBytes);
  return text ? ConfigReader(path).read(*text) : ModelConfig{};
}

AttentionHeads read_attention_heads(const std::string& directory) {
  const auto path = (std::filesystem::path(directory) / "config.json").string();
  const auto text = base::read_text_file_if_exists(path, kMaxConfigBytes);
  return text ? ConfigReader(path).read_heads(*text) : AttentionHeads{};
}

}  // namespace winnow::checkpoint
