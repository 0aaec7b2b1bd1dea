#include "winnow/adapter/patterns.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cmath>

#include "winnow/adapter/peft_config.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/text.hpp"

namespace winnow::adapter {

namespace {

using base::Error;
using base::ErrorKind;

// Real keys are at most a few hundred bytes long and match in some hundred steps.
constexpr std::size_t kMaxPatternBytes = 16'384;
constexpr std::uint32_t kMaxSteps = 1'000'000;
constexpr std::uint32_t kMaxHeapKib = 32'768;

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};

std::string shown(std::string_view text) { return base::abbreviated(text, 200); }

std::string expression(const std::string& key, Pattern::Form form) {
  switch (form) {
    case Pattern::Form::whole:
      return "(?:" + key + R"()\z)";
    case Pattern::Form::parts:
      return R"((^|.*\.))" + key + R"(($|\..*))";
    case Pattern::Form::end:
      break;
  }
  return R"((.*\.)?()" + key + ")$";
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, Free> code;
  std::unique_ptr<pcre2_match_context, Free> limits;
};

Pattern::Pattern(std::string_view key, Form form) : key_(key), compiled_(std::make_unique<Compiled>()) {
  if (key.size() > kMaxPatternBytes) {
    throw Error(ErrorKind::invalid_input, fmt::format("bad pattern \"{}\"", shown(key)))
        .expected(fmt::format("at most {} bytes", kMaxPatternBytes));
  }
  const auto whole = expression(python_to_pcre2(key), form);
  const std::unique_ptr<pcre2_compile_context, Free> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // what "." and "$" mean to Python
  int code = 0;
  PCRE2_SIZE at = 0;
  // ANCHORED is re.match. Without DOLLAR_ENDONLY "$" also matches before a final newline, as in Python.
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(whole.data()), whole.size(),
                                      PCRE2_ANCHORED | PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at,
                                      context.get()));
  if (!compiled_->code) {
    throw Error(ErrorKind::invalid_input, fmt::format("bad pattern \"{}\"", shown(key)))
        .expected(fmt::format("a regular expression as Python's re module takes it: {}", pcre2_message(code)));
  }
  compiled_->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(compiled_->limits.get(), kMaxSteps);
  pcre2_set_depth_limit(compiled_->limits.get(), kMaxSteps);
  pcre2_set_heap_limit(compiled_->limits.get(), kMaxHeapKib);
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

bool Pattern::matches(std::string_view module) const {
  const std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create(1, nullptr));
  const int result = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(module.data()), module.size(), 0,
                                 0, data.get(), compiled_->limits.get());
  if (result >= 0) return true;
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_DEPTHLIMIT || result == PCRE2_ERROR_HEAPLIMIT) {
    throw Error(ErrorKind::invalid_input,
                fmt::format("pattern \"{}\" takes too long on module {}", shown(key_), shown(module)))
        .expected(fmt::format("an answer within {} steps", kMaxSteps))
        .advice("simplify the pattern in adapter_config.json");
  }
  throw Error(ErrorKind::invalid_input,
              fmt::format("pattern \"{}\" cannot be matched: {}", shown(key_), pcre2_message(result)));
}

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
