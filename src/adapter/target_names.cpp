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

bool catches_parameter(const std::string& entry, const std::string& parameter) {
  return parameter == entry || parameter.ends_with("." + entry);
}

bool is_parameter(const std::vector<std::string>& entries, const std::string& module) {
  return is_fused_experts(module) || std::any_of(entries.begin(), entries.end(), [&](const auto& entry) {
           return catches_parameter(entry, module + ".weight");
         });
}

}  // namespace winnow::adapter
