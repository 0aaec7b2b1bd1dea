#include "target_names.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "winnow/adapter/keys.hpp"

namespace winnow::adapter {

std::string escaped(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (std::string_view(R"(\^$.|?*+()[]{}-)").find(c) != std::string_view::npos) text += '\\';
    text += c;
  }
  return text;
}

std::vector<std::string> target_parameters(const nlohmann::ordered_json& config) {
  std::vector<std::string> entries;
  const auto found = config.find("target_parameters");
  if (found == config.end() || !found->is_array()) return entries;
  for (const auto& entry : *found) {
    if (entry.is_string()) entries.push_back(entry.get<std::string>());
  }
  return entries;
}

TargetParameters::TargetParameters(const std::vector<std::string>& entries) : entries_(entries.begin(), entries.end()) {
  for (const auto& entry : entries_) {
    const auto dot = entry.rfind('.');
    const auto module = dot == std::string::npos ? std::string() : entry.substr(0, dot);
    parameters_[module].insert(entry.substr(dot + 1));  // npos + 1 is 0
  }
}

bool TargetParameters::have(const std::string& module) const {
  return is_fused_experts(module) || catches(module + ".weight");
}

std::string TargetParameters::pattern_name(const std::string& module) const {
  auto weight = module + ".weight";
  return catches(weight) ? weight : module;
}

std::vector<std::string> TargetParameters::of_module(std::string_view module, bool bare, std::size_t most) const {
  std::set<std::string> found;
  const auto add = [&](std::string_view named) {
    const auto at = parameters_.find(named);
    if (at == parameters_.end()) return;
    for (const auto& parameter : at->second) {
      if (found.size() == most) return;
      found.insert(std::string(module) + "." + parameter);
    }
  };
  if (bare) add("");
  for (auto rest = module;;) {
    add(rest);
    const auto dot = rest.find('.');
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return {found.begin(), found.end()};
}

}  // namespace winnow::adapter
