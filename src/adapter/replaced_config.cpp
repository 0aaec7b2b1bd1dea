#include "replaced_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "target_names.hpp"
#include "winnow/adapter/patterns.hpp"
#include "winnow/base/error.hpp"

namespace winnow::adapter {

namespace {

using Json = nlohmann::ordered_json;

double divisor(const PeftConfig& config, double rank) { return config.use_rslora ? std::sqrt(rank) : rank; }

/// The alpha that PEFT makes `scale` of at this rank, to the last bit if there is one.
double alpha_for(double scale, double divisor) {
  const double alpha = scale * divisor;
  for (const double candidate :
       {alpha, std::nextafter(alpha, 0.0), std::nextafter(alpha, std::numeric_limits<double>::infinity())}) {
    if (candidate / divisor == scale) return candidate;
  }
  return alpha;
}

/// 16 and not 16.0: some programs want whole numbers.
Json number(double value) {
  constexpr double exact = 9007199254740992.0;  // 2^53
  if (value == std::floor(value) && std::abs(value) < exact) return static_cast<std::int64_t>(value);
  return value;
}

struct Wanted {
  double rank = 0, alpha = 0;
};

/// Full names to be entered in a pattern table, with their values.
using Entries = std::map<std::string, double, std::less<>>;

/// A module without an entry must not be caught by that of a module whose name ends its own.
void add_caught(Entries& entries, const std::map<std::string, Wanted>& wanted, double Wanted::*value) {
  for (bool grown = !entries.empty(); grown;) {
    grown = false;
    for (const auto& [module, values] : wanted) {
      if (!entries.contains(module) && ends_in_one_of(entries, module)) {
        grown = entries.emplace(module, values.*value).second;
      }
    }
  }
}

/// A name is entered as it is, which is how PEFT itself writes full names, and its dots match themselves as well.
std::string as_pattern(const std::string& module) {
  constexpr std::string_view special = R"(\^$|?*+()[]{})";
  return module.find_first_of(special) == std::string::npos ? module : escaped(module);
}

void prepend(Json& config, const char* key, const Entries& entries) {
  if (entries.empty()) return;
  std::vector<std::pair<std::string, double>> ordered(entries.begin(), entries.end());
  // A longer name may end in a shorter one, and the first that matches wins.
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  auto table = Json::object();
  for (const auto& [module, value] : ordered) table[as_pattern(module)] = number(value);
  if (config.contains(key) && config[key].is_object()) {
    for (const auto& [pattern, value] : config[key].items()) {
      if (!table.contains(pattern)) table[pattern] = value;
    }
  }
  config[key] = std::move(table);
}

}  // namespace

std::string replaced_config(std::string_view text, const PeftConfig& config, const std::vector<ModuleRank>& modules) {
  if (std::all_of(modules.begin(), modules.end(), [](const auto& m) { return m.before == m.after; })) {
    return std::string(text);
  }
  auto json = Json::parse(text);
  const auto parameters = target_parameters(json);
  const TargetParameters targets(parameters);
  const ScalingRules rules(config);
  std::map<std::string, Wanted> wanted;  // by what patterns are compared with
  double largest = config.r;
  for (const auto& [module, before, after] : modules) {
    const auto name = targets.pattern_name(module);
    Wanted values{rules.configured_rank(name), rules.scaling(name, before).alpha};
    if (before != after) {
      if (!parameters.empty() && targets.have(module)) {
        throw base::Error(base::ErrorKind::invalid_input, fmt::format("the rank of {} cannot rise", module))
            .expected("a module that PEFT does not target as a parameter (target_parameters), where patterns count")
            .advice("take a repair that keeps every rank: deflect --side left or right, project");
      }
      const auto rank = static_cast<double>(after);
      values = {rank, alpha_for(rules.scaling(name, before).scale, divisor(config, rank))};
    }
    wanted.emplace(name, values);
    largest = std::max(largest, values.rank);
  }

  PeftConfig changed = config;
  if (parameters.empty() && largest > config.r) {
    changed.r = largest;
    changed.lora_alpha = alpha_for(config.lora_alpha / divisor(config, config.r), divisor(config, largest));
    json["r"] = number(changed.r);
    json["lora_alpha"] = number(changed.lora_alpha);
  }
  const ScalingRules found(changed);
  Entries ranks, alphas;
  for (const auto& [name, values] : wanted) {
    if (found.configured_rank(name) != values.rank) ranks.emplace(name, values.rank);
    if (found.scaling(name, 1).alpha != values.alpha) alphas.emplace(name, values.alpha);
  }
  add_caught(ranks, wanted, &Wanted::rank);
  add_caught(alphas, wanted, &Wanted::alpha);
  prepend(json, "rank_pattern", ranks);
  prepend(json, "alpha_pattern", alphas);
  return json.dump(2) + "\n";
}

}  // namespace winnow::adapter
