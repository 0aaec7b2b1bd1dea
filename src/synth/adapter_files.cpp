#include "adapter_files.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "winnow/base/dtype.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"

namespace winnow::synth {
namespace {

std::vector<std::uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> rounded(values.size());
  for (std::size_t at = 0; at < values.size(); ++at) rounded[at] = base::float_to_bf16(values[at]);
  return rounded;
}

}  // namespace

std::string adapter_config_json(const AdapterPlan& plan) {
  std::vector<std::string> roles;  // in the order of a layer
  for (const auto& module : plan.modules) {
    if (std::find(roles.begin(), roles.end(), module.role) == roles.end()) roles.push_back(module.role);
  }
  const nlohmann::ordered_json config = {
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", "winnow-synth/" + plan.preset},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layers_pattern", nullptr},
      {"layers_to_transform", nullptr},
      {"lora_alpha", static_cast<std::uint64_t>(plan.alpha)},
      {"lora_dropout", 0.0},
      {"modules_to_save", nullptr},
      {"peft_type", "LORA"},
      {"r", plan.rank},
      {"rank_pattern", nlohmann::json::object()},
      {"alpha_pattern", nlohmann::json::object()},
      {"revision", nullptr},
      {"target_modules", roles},
      {"task_type", "CAUSAL_LM"},
      {"use_dora", false},
      {"use_rslora", false},
  };
  return config.dump(2) + "\n";
}

void write_adapter(const AdapterPlan& plan, const std::string& directory, int threads) {
  const auto& modules = plan.modules;
  std::vector<checkpoint::TensorSpec> tensors;
  for (const auto& module : modules) {
    const auto key = "base_model.model." + module.name;
    tensors.push_back({key + ".lora_A.weight", base::DType::bf16, {plan.rank, module.in}});
    tensors.push_back({key + ".lora_B.weight", base::DType::bf16, {module.out, plan.rank}});
  }
  checkpoint::SafetensorsWriter writer(directory + "/adapter_model.safetensors", tensors);
  if (plan.headers_only) writer.append_zeros();
  const auto at_once = static_cast<std::size_t>(threads);
  // As many modules at a time as there are threads: memory does not grow with the model.
  for (std::size_t first = 0; first < modules.size() && !plan.headers_only; first += at_once) {
    const auto count = std::min(at_once, modules.size() - first);
    std::vector<std::vector<std::uint16_t>> a(count), b(count);
    base::parallel_blocks(count, threads, [&](std::size_t n, int) {
      const auto factors = plan.update(modules[first + n]);
      a[n] = to_bf16(factors.a);
      b[n] = to_bf16(factors.b);
    });
    for (std::size_t n = 0; n < count; ++n) {
      writer.append(std::as_bytes(std::span(a[n])));
      writer.append(std::as_bytes(std::span(b[n])));
    }
  }
  writer.commit();
  base::atomic_write_file(directory + "/adapter_config.json", adapter_config_json(plan));
}

}  // namespace winnow::synth
