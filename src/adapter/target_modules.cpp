#include "target_modules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

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

Pattern compiled(const std::string& expression, Pattern::Form form, std::string_view key) {
  try {
    return Pattern(expression, form);
  } catch (const base::Error& error) {
    throw base::Error(base::ErrorKind::invalid_input,
                      fmt::format("\"{}\" in the adapter config: {}", key, error.what()));
  }
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

TargetModules::TargetModules(const PeftConfig& config)
    : excluded_(config.exclude_modules),
      layers_(config.layers_to_transform.begin(), config.layers_to_transform.end()),
      parameters_(config.target_parameters) {
  if (config.target_modules) {
    targets_.emplace(*config.target_modules);
  } else if (!config.target_parameters.empty()) {
    targets_.emplace(ModuleSelection{});  // PEFT makes no choice then
  }
  for (const auto& name : config.modules_to_save) {
    saved_.push_back(compiled(name, Pattern::Form::parts, "modules_to_save"));
  }
  for (const auto& name : config.layers_pattern) {
    before_layer_.push_back(compiled(name, Pattern::Form::end, "layers_pattern"));
  }
}

std::string TargetModules::refusal(const std::string& module) const {
  if (parameters_.have(module)) return {};
  const auto because = [](std::string_view reason) { return fmt::format("PEFT does not load it: {}", reason); };
  if (excluded_.have(module)) return because("exclude_modules names it");
  if (std::any_of(saved_.begin(), saved_.end(), [&](const auto& saved) { return saved.matches(module); })) {
    return because("modules_to_save names it");
  }
  if (!targets_) return {};
  if (!targets_->have(module)) return because("target_modules does not name it");
  // A whole name in the list is of its layer alone.
  if (layers_.empty() || targets_->expression || targets_->ends.contains(module) || has_layer(module)) return {};
  return because("layers_to_transform leaves out its layer");
}

/// The layer's number is the first part that is one: after any other two parts, or after what layers_pattern says.
bool TargetModules::has_layer(std::string_view module) const {
  const auto layer_after = [&](const Pattern* before) -> std::optional<std::int64_t> {
    std::size_t parts = 0;
    for (auto dot = module.find('.'); dot != std::string_view::npos; dot = module.find('.', dot + 1)) {
      const auto rest = module.substr(dot + 1), number = rest.substr(0, rest.find('.'));
      ++parts;
      if (number.size() == rest.size()) return {};
      std::int64_t layer = 0;
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), layer);
      if (error != std::errc{} || end != number.data() + number.size() || number.starts_with('-')) continue;
      if (before == nullptr ? parts >= 2 : before->matches(module.substr(0, dot))) return layer;
    }
    return {};
  };
  if (before_layer_.empty()) {
    const auto layer = layer_after(nullptr);
    return layer && layers_.contains(*layer);
  }
  for (const auto& before : before_layer_) {
    if (const auto layer = layer_after(&before)) return layers_.contains(*layer);
  }
  return false;
}

NotLoaded not_loaded(const std::map<std::string, bool>& modules, bool has_experts, const PeftConfig& config) {
  const TargetModules targets(config);
  NotLoaded found;
  for (const auto& [module, prefixed] : modules) {
    auto reason = prefixed ? targets.refusal(module) : "PEFT does not load it: its keys lack base_model.model.";
    if (!reason.empty()) found.reasons.emplace(module, std::move(reason));
  }
  found.loads_others = has_experts || found.reasons.size() < modules.size();
  return found;
}

}  // namespace winnow::adapter
