#include "pruned_config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "target_names.hpp"
#include "winnow/adapter/patterns.hpp"

namespace winnow::adapter {

namespace {

/// Without the entries that match no module any more: they change nothing, but PEFT warns of each when it loads them.
nlohmann::ordered_json used_patterns(const nlohmann::ordered_json& table, const std::vector<std::string>& modules) {
  auto used = nlohmann::ordered_json::object();
  for (const auto& [key, value] : table.items()) {
    const Pattern pattern(key);
    const auto matches = [&](const auto& module) { return pattern.matches(module); };
    if (std::any_of(modules.begin(), modules.end(), matches)) used[key] = value;
  }
  return used;
}

/// The weights of modules by every entry of target_parameters that would catch them: their name, and each end of it.
std::map<std::string, std::vector<std::string>, std::less<>> weights_by_entry(const std::vector<std::string>& modules) {
  std::map<std::string, std::vector<std::string>, std::less<>> weights;
  for (const auto& module : modules) {
    const auto weight = module + ".weight";
    std::size_t begin = 0;
    do {
      weights[weight.substr(begin)].push_back(weight);
      begin = weight.find('.', begin) + 1;
    } while (begin != 0);  // npos + 1
  }
  return weights;
}

/// `entries` that no longer catch what is pruned: those that did are replaced by the full names of what they keep.
std::vector<std::string> kept_parameters(const std::vector<std::string>& entries, const std::vector<std::string>& kept,
                                         const std::vector<std::string>& pruned) {
  const auto of_pruned = weights_by_entry(pruned), of_kept = weights_by_entry(kept);
  std::vector<std::string> result;
  for (const auto& entry : entries) {
    if (!of_pruned.contains(entry)) {
      result.push_back(entry);
    } else if (const auto caught = of_kept.find(entry); caught != of_kept.end()) {
      result.insert(result.end(), caught->second.begin(), caught->second.end());
    }
  }
  return result;
}

std::string whole_names(const std::vector<std::string>& names) {
  std::vector<std::string> all;
  for (const auto& name : names) all.push_back(escaped(name));
  return fmt::format("(?:{})", fmt::join(all, "|"));
}

/// Of a configuration that leaves the choice of modules to PEFT, which is not known here: without `pruned`.
void exclude(nlohmann::ordered_json& config, const std::vector<std::string>& pruned) {
  auto expression = whole_names(pruned);
  const auto known = config.find("exclude_modules");
  if (known != config.end() && known->is_string() && !known->get<std::string>().empty()) {
    expression = fmt::format("(?:{})|{}", known->get<std::string>(), expression);
  } else if (known != config.end() && known->is_array() && !known->empty()) {
    std::vector<std::string> ends;
    for (const auto& end : *known) ends.push_back(escaped(end.get<std::string>()));
    expression = fmt::format("(?:.*\\.)?(?:{})|{}", fmt::join(ends, "|"), expression);
  }
  config["exclude_modules"] = expression;
}

}  // namespace

std::string pruned_config(std::string_view text, const std::vector<std::string>& kept,
                          const std::vector<std::string>& pruned) {
  auto config = nlohmann::ordered_json::parse(text);
  const bool parameters = config.contains("target_parameters") && config["target_parameters"].is_array();
  const auto entries_before = target_parameters(config);
  if (parameters) {
    const auto left = kept_parameters(entries_before, kept, pruned);
    if (left.empty()) {
      config["target_parameters"] = nullptr;
    } else {
      config["target_parameters"] = left;
    }
  }
  if (!parameters && (!config.contains("target_modules") || config["target_modules"].is_null())) {
    exclude(config, pruned);
    return config.dump(2) + "\n";
  }
  const TargetParameters targeted(entries_before);
  std::vector<std::string> targets;
  for (const auto& module : kept) {
    if (!targeted.have(module)) targets.push_back(module);
  }
  const std::set<std::string_view> entries(targets.begin(), targets.end());
  if (targets.empty()) {
    config["target_modules"] = nlohmann::ordered_json::array();  // null would be PEFT's own choice for the model
  } else if (std::any_of(pruned.begin(), pruned.end(),
                         [&](const auto& module) { return ends_in_one_of(entries, module); })) {
    config["target_modules"] = whole_names(targets);
  } else {
    config["target_modules"] = targets;
  }
  if (!parameters) {
    for (const auto* key : {"rank_pattern", "alpha_pattern"}) {
      if (config.contains(key) && config[key].is_object()) config[key] = used_patterns(config[key], targets);
    }
  }
  for (const auto* key : {"layers_to_transform", "layers_pattern", "exclude_modules"}) {
    if (config.contains(key)) config[key] = nullptr;
  }
  return config.dump(2) + "\n";
}

}  // namespace winnow::adapter
