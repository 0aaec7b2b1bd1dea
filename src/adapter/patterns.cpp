#include "winnow/adapter/patterns.hpp"

#include <cmath>

#include "expression.hpp"
#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

namespace {

/// Python takes flags at the very beginning of an expression, and nowhere else.
std::string_view leading_flags(std::string_view key) {
  if (!key.starts_with("(?")) return {};
  const auto end = key.find_first_not_of("imsx", 2);
  return end > 2 && end != std::string_view::npos && key[end] == ')' ? key.substr(0, end + 1) : std::string_view();
}

std::string expression(std::string_view python, Pattern::Form form) {
  const auto flags = form == Pattern::Form::whole ? leading_flags(python) : std::string_view();
  const auto key = python_to_pcre2(python.substr(flags.size()));
  switch (form) {
    case Pattern::Form::whole:
      return std::string(flags) + "(?:" + key + R"()\z)";
    case Pattern::Form::parts:
      return R"((^|.*\.))" + key + R"(($|\..*))";
    case Pattern::Form::end:
      break;
  }
  return R"((.*\.)?()" + key + ")$";
}

}  // namespace

struct Pattern::Compiled {
  Expression expression;
};

Pattern::Pattern(std::string_view key, Form form)
    : key_(key), compiled_(std::make_unique<Compiled>(Compiled{Expression(expression(key, form), key)})) {}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

bool Pattern::matches(std::string_view module) const { return compiled_->expression.matches(module); }

bool pattern_matches(std::string_view key, std::string_view module) { return Pattern(key).matches(module); }

ScalingRules::ScalingRules(const PeftConfig& config)
    : r_(config.r),
      alpha_(config.lora_alpha),
      rslora_(config.use_rslora),
      ranks_(compile(config.rank_pattern)),
      alphas_(compile(config.alpha_pattern)) {}

ScalingRules::Table ScalingRules::compile(const PatternTable& table) {
  Table compiled;
  compiled.reserve(table.size());
  for (const auto& [key, value] : table) compiled.emplace_back(Pattern(key), value);
  return compiled;
}

std::optional<double> ScalingRules::find(const Table& table, std::string_view module) {
  for (const auto& [pattern, value] : table) {
    if (pattern.matches(module)) return value;
  }
  return std::nullopt;
}

double ScalingRules::configured_rank(std::string_view module) const { return find(ranks_, module).value_or(r_); }

Scaling ScalingRules::scaling(std::string_view module, std::uint64_t rank) const {
  const auto alpha = find(alphas_, module).value_or(alpha_);
  const auto r = static_cast<double>(rank);
  return {alpha, alpha / (rslora_ ? std::sqrt(r) : r)};
}

Scaling module_scaling(const PeftConfig& config, std::string_view module, std::uint64_t rank) {
  return ScalingRules(config).scaling(module, rank);
}

}  // namespace winnow::adapter
