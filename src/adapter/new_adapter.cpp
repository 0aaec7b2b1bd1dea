#include "winnow/adapter/new_adapter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/error.hpp"
#include "written_files.hpp"

namespace winnow::adapter {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string config_text(const NewAdapter& adapter, std::uint64_t rank) {
  auto names = ordered_json::array();
  for (const auto& module : adapter.modules) names.push_back(module.module);
  return text_of({
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", adapter.base_model},
      {"bias", "none"},
      {"fan_in_fan_out", adapter.fan_in_fan_out},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layers_pattern", nullptr},
      {"layers_to_transform", nullptr},
      {"lora_alpha", rank},
      {"lora_dropout", 0.0},
      {"modules_to_save", nullptr},
      {"peft_type", "LORA"},
      {"r", rank},
      {"rank_pattern", ordered_json::object()},
      {"alpha_pattern", ordered_json::object()},
      {"revision", nullptr},
      {"target_modules", std::move(names)},
      {"task_type", adapter.task_type.empty() ? ordered_json() : ordered_json(adapter.task_type)},
      {"use_dora", false},
      {"use_rslora", false},
  });
}

std::string marker_text(const NewAdapter& adapter, const RepairNote& note) {
  ordered_json facts = {{"repair", note.repair}};
  for (const auto& [setting, value] : note.settings) facts[setting] = value;
  auto ranks = ordered_json::object();
  for (const auto& module : adapter.modules) ranks[module.module] = module.rank;
  facts["ranks"] = std::move(ranks);
  return text_of({{kMarkerKey, std::move(facts)}});
}

void write_weights(const std::string& path, const NewAdapter& adapter, std::uint64_t rank,
                   const std::function<NewFactors(std::size_t)>& factors) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& module : adapter.modules) {
    const auto key = "base_model.model." + module.module;
    specs.push_back({key + ".lora_A.weight", adapter.dtype, {rank, module.in_features}});
    specs.push_back({key + ".lora_B.weight", adapter.dtype, {module.out_features, rank}});
  }
  checkpoint::SafetensorsWriter out(path, specs);
  const auto size = base::element_bytes(adapter.dtype);
  for (std::size_t n = 0; n < adapter.modules.size(); ++n) {
    const auto& module = adapter.modules[n];
    auto made = factors(n);
    if (made.a.size() != module.rank * module.in_features * size ||
        made.b.size() != module.rank * module.out_features * size) {
      throw base::Error(base::ErrorKind::runtime, fmt::format("factors of {} have the wrong size", module.module));
    }
    made.a.resize(rank * module.in_features * size);
    out.append(made.a);
    out.append(with_zero_columns(made.b, module.out_features, module.rank * size, rank * size));
  }
  out.commit();
}

}  // namespace

std::uint64_t write_new_adapter(const std::string& destination, const NewAdapter& adapter,
                                const std::function<NewFactors(std::size_t)>& factors, const RepairNote& note) {
  std::uint64_t rank = 0;
  for (const auto& module : adapter.modules) rank = std::max(rank, module.rank);
  const bool replace = check_destination(destination);
  StagedDirectory staged(destination);
  write_weights(staged.file(kWeightsFile), adapter, rank, factors);
  write_text(staged.file(kConfigFile), config_text(adapter, rank));
  write_text(staged.file(kMarkerFile), marker_text(adapter, note));
  staged.commit(replace);
  return rank;
}

}  // namespace winnow::adapter
