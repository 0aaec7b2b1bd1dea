#include "target_modules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "default_targets.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"

namespace winnow::adapter {
namespace {

/// The names that an expression lists and nothing else, as (?:a\.b|c), which is how names are written where an end
/// would match too much; nothing if it is more than that. Such a list may be longer than an expression can be.
std::optional<std::set<std::string, std::less<>>> listed_names(std::string_view expression) {
  if (expression.starts_with("(?:") && expression.ends_with(")")) {
    expression.remove_prefix(3);
    expression.remove_suffix(1);
  }
  std::set<std::string, std::less<>> names;
  std::string name;
  for (std::size_t at = 0; at < expression.size(); ++at) {
    const char c = expression[at];
    if (c == '|') {
      names.insert(std::exchange(name, {}));
    } else if (c == '\\') {
      if (++at == expression.size() || std::string_view(R"(\^$.|?*+()[]{}-)").find(expression[at]) == std::string::npos)
        return {};
      name += expression[at];
    } else if (std::string_view("^$.?*+()[]{}").find(c) != std::string_view::npos) {
      return {};
    } else {
      name += c;
    }
  }
  names.insert(std::move(name));
  return names;
}

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// Calls `compile`, and names the key of the configuration in its error.
template <class Compile>
auto named(std::string_view key, Compile compile) {
  try {
    return compile();
  } catch (const base::Error& error) {
    throw base::Error(base::ErrorKind::invalid_input,
                      fmt::format("\"{}\" in the adapter config: {}", key, error.what()));
  }
}

Pattern compiled(const std::string& expression, Pattern::Form form, std::string_view key) {
  return named(key, [&] { return Pattern(expression, form); });
}

}  // namespace

TargetModules::Selection::Selection(const ModuleSelection& modules) : ends(modules.names.begin(), modules.names.end()) {
  if (modules.expression.empty()) return;
  if (auto names = listed_names(modules.expression)) {
    wholes = *std::move(names);
  } else {
    expression = compiled(modules.expression, Pattern::Form::whole, "target_modules or exclude_modules");
  }
}

bool TargetModules::Selection::have(std::string_view module) const {
  if (expression) return expression->matches(module);
  return wholes.contains(module) || ends_in_one_of(ends, module);
}

TargetModules::TargetModules(const PeftConfig& config, std::string_view model_type)
    : excluded_(config.exclude_modules),
      layers_(config.layers_to_transform.begin(), config.layers_to_transform.end()),
      parameters_(config.target_parameters) {
  if (config.target_modules) {
    all_linear_ = lower_case(config.target_modules->expression) == "all-linear";
    if (!all_linear_) targets_.emplace(*config.target_modules);
  } else if (!config.target_parameters.empty()) {
    targets_.emplace(ModuleSelection{});  // PEFT makes no choice then
  } else if (const auto defaults = default_targets(model_type)) {
    targets_.emplace(*defaults);
  }
  for (const auto& name : config.modules_to_save) {
    saved_.push_back(compiled(name, Pattern::Form::parts, "modules_to_save"));
  }
  if (config.layers_pattern == std::vector<std::string>{""}) return;  // an empty one is none
  for (const auto& name : config.layers_pattern) {
    named("layers_pattern", [&] {
      layer_patterns_.emplace_back(R"((?:^|.*?\.))" + python_to_pcre2(name) + R"(\.(?P<idx>\d+)\.)", name);
    });
  }
}

bool TargetModules::makes_lora_of(const std::string& module) const { return targets_ && refusal(module).empty(); }

bool TargetModules::saves_whole(const std::string& module) const {
  return std::any_of(saved_.begin(), saved_.end(), [&](const auto& saved) { return saved.matches(module); });
}

std::string TargetModules::refusal(const std::string& module) const {
  if (parameters_.have(module)) return {};
  const auto because = [](std::string_view reason) { return fmt::format("PEFT does not load it: {}", reason); };
  if (excluded_.have(module)) return because("exclude_modules names it");
  if (saves_whole(module)) return because("modules_to_save names it");
  if (all_linear_ && is_output_head(module)) return because("all-linear leaves out the output head");
  if (!targets_) return {};
  if (!targets_->have(module)) return because("target_modules does not name it");
  // A whole name in the list is of its layer alone, unless the list is one that PEFT shortens to ends of names.
  constexpr std::size_t kShortened = 20;  // peft, tuners_utils.py, MIN_TARGET_MODULES_FOR_OPTIMIZATION
  const bool whole = targets_->ends.contains(module) && targets_->ends.size() < kShortened;
  const bool listed = !targets_->expression && targets_->wholes.empty();
  if (layers_.empty() || !listed || whole || has_layer(module)) return {};
  return because("layers_to_transform leaves out its layer");
}

/// The layer's number is the first part that is one: after any other two parts, or after what layers_pattern says.
bool TargetModules::has_layer(std::string_view module) const {
  const auto is_asked_for = [&](std::string_view number) {
    std::int64_t layer = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), layer);
    return error == std::errc{} && end == number.data() + number.size() && layers_.contains(layer);
  };
  for (const auto& pattern : layer_patterns_) {
    if (!pattern.matches(module)) continue;
    return is_asked_for(pattern.group(module, "idx").value_or(""));
  }
  if (!layer_patterns_.empty()) return false;
  std::size_t parts = 0;
  for (auto dot = module.find('.'); dot != std::string_view::npos; dot = module.find('.', dot + 1)) {
    const auto rest = module.substr(dot + 1), number = rest.substr(0, rest.find('.'));
    if (number.size() == rest.size()) return false;
    if (++parts < 2 || number.empty() || number.find_first_not_of("0123456789") != std::string_view::npos) continue;
    return is_asked_for(number);
  }
  return false;
}

NotLoaded not_loaded(const std::map<std::string, bool>& modules, bool has_others, const TargetModules& targets) {
  NotLoaded found;
  for (const auto& [module, loadable] : modules) {
    auto reason = loadable ? targets.refusal(module) : "PEFT does not load it: its keys are not those it looks for";
    if (!reason.empty()) found.reasons.emplace(module, std::move(reason));
  }
  found.loads_others = has_others || found.reasons.size() < modules.size();
  return found;
}

}  // namespace winnow::adapter
