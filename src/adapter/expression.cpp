#include "expression.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <utility>

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

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Expression::Compiled {
  std::unique_ptr<pcre2_code, Free> code;
  std::unique_ptr<pcre2_match_context, Free> limits;

  /// The error or the number of groups; `data` holds where they are.
  int match(std::string_view subject, pcre2_match_data* data) const {
    return pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), 0, 0, data,
                       limits.get());
  }
};

Expression::Expression(std::string_view whole, std::string_view key)
    : key_(key), compiled_(std::make_unique<Compiled>()) {
  if (key.size() > kMaxPatternBytes) {
    throw Error(ErrorKind::invalid_input, fmt::format("bad pattern \"{}\"", shown(key)))
        .expected(fmt::format("at most {} bytes", kMaxPatternBytes));
  }
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

Expression::~Expression() = default;
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;

bool Expression::matches(std::string_view subject) const { return group(subject, nullptr).has_value(); }

std::optional<std::string> Expression::group(std::string_view subject, const char* name) const {
  const std::unique_ptr<pcre2_match_data, Free> data(
      pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  const int result = compiled_->match(subject, data.get());
  if (result >= 0) {
    if (name == nullptr) return std::string();
    PCRE2_UCHAR* text = nullptr;
    PCRE2_SIZE length = 0;
    const auto key = reinterpret_cast<PCRE2_SPTR>(name);
    if (pcre2_substring_get_byname(data.get(), key, &text, &length) != 0) return {};
    std::string found(reinterpret_cast<const char*>(text), length);
    pcre2_substring_free(text);
    return found;
  }
  if (result == PCRE2_ERROR_NOMATCH) return {};
  if (result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_DEPTHLIMIT || result == PCRE2_ERROR_HEAPLIMIT) {
    throw Error(ErrorKind::invalid_input,
                fmt::format("pattern \"{}\" takes too long on module {}", shown(key_), shown(subject)))
        .expected(fmt::format("an answer within {} steps", kMaxSteps))
        .advice("simplify the pattern in adapter_config.json");
  }
  throw Error(ErrorKind::invalid_input,
              fmt::format("pattern \"{}\" cannot be matched: {}", shown(key_), pcre2_message(result)));
}

}  // namespace winnow::adapter
