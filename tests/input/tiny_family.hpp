// A base and an aligned checkpoint of a few small modules and adapters on them, made up in memory and written as files.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/temporary_directory.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"
#include "winnow/run/options.hpp"

namespace winnow::test {

struct Matrix {
  std::uint64_t rows = 0, columns = 0;
  std::vector<float> values;

  static Matrix random(std::uint64_t rows, std::uint64_t columns, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0F, 0.1F);
    Matrix matrix{rows, columns, std::vector<float>(rows * columns)};
    for (auto& value : matrix.values) value = normal(engine);
    return matrix;
  }
};

using Tensors = std::map<std::string, Matrix>;

inline void write_tensors(const std::string& path, const Tensors& tensors) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& [name, matrix] : tensors) specs.push_back({name, base::DType::f32, {matrix.rows, matrix.columns}});
  checkpoint::SafetensorsWriter writer(path, specs);
  for (const auto& [name, matrix] : tensors) writer.append(std::as_bytes(std::span(matrix.values)));
  writer.commit();
}

/// Eight layers of one role, so that every population has peers: model.layers.K.mlp.up_proj, 12 x 10.
class TinyFamily {
 public:
  static constexpr int kLayers = 8;
  static constexpr std::uint64_t kOut = 12, kIn = 10, kRank = 2;

  TinyFamily() {
    for (int layer = 0; layer < kLayers; ++layer) {
      base[weight(layer)] = Matrix::random(kOut, kIn, 100U + static_cast<unsigned>(layer));
      aligned[weight(layer)] = Matrix::random(kOut, kIn, 200U + static_cast<unsigned>(layer));
    }
  }

  static std::string module(int layer) { return "model.layers." + std::to_string(layer) + ".mlp.up_proj"; }
  static std::string weight(int layer) { return module(layer) + ".weight"; }
  static std::string key(int layer, const std::string& factor) {
    return "base_model.model." + module(layer) + "." + factor + ".weight";
  }

  /// Factors of an ordinary adapter on all layers; change them before write_adapter().
  static Tensors adapter(unsigned seed) {
    Tensors tensors;
    for (int layer = 0; layer < kLayers; ++layer) {
      tensors[key(layer, "lora_A")] = Matrix::random(kRank, kIn, seed * 1000U + 2U * static_cast<unsigned>(layer));
      tensors[key(layer, "lora_B")] =
          Matrix::random(kOut, kRank, seed * 1000U + 2U * static_cast<unsigned>(layer) + 1U);
    }
    return tensors;
  }

  /// As PEFT writes it: modules with LoRA are targets, and whole weights of others are saved.
  static std::string config_of(const Tensors& tensors) {
    const std::string prefix = "base_model.model.", end = ".weight";
    std::string saved;
    for (const auto& [key, tensor] : tensors) {
      if (!key.starts_with(prefix) || !key.ends_with(end) || key.find("lora_") != std::string::npos) continue;
      const auto module = key.substr(prefix.size(), key.size() - prefix.size() - end.size());
      if (tensors.contains(prefix + module + ".lora_A.weight")) continue;
      saved += (saved.empty() ? "\"" : ", \"") + module + "\"";
    }
    const bool head = tensors.contains(prefix + "lm_head.lora_A.weight");
    return std::string(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj")") +
           (head ? R"(, "lm_head"])" : "]") + R"(, "modules_to_save": [)" + saved + "]}";
  }

  std::string write_adapter(const std::string& name, const Tensors& tensors) const {
    const auto path = directory / name;
    std::filesystem::create_directories(path);
    directory.write(name + "/adapter_config.json", config_of(tensors));
    write_tensors(path + "/adapter_model.safetensors", tensors);
    return path;
  }

  /// Writes the checkpoints as they are now.
  run::AuditOptions options(std::vector<std::string> adapters) const {
    for (const auto& [name, tensors] : {std::pair{"base", &base}, std::pair{"aligned", &aligned}}) {
      std::filesystem::create_directories(directory / name);
      write_tensors(directory / (std::string(name) + "/model.safetensors"), *tensors);
    }
    run::AuditOptions options;
    options.read.base = directory / "base";
    options.read.aligned = directory / "aligned";
    options.read.adapters = std::move(adapters);
    options.means.threads = 1;
    options.measure.subspace_rank = 3;
    return options;
  }

  Tensors base, aligned;
  TemporaryDirectory directory;
};

}  // namespace winnow::test
