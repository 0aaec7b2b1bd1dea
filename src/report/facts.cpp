#include "facts.hpp"

#include <algorithm>
#include <cctype>

namespace winnow::report {
namespace {

/// In `pattern` 0 stands for any digit.
bool looks_like(std::string_view text, std::string_view pattern) {
  return std::equal(text.begin(), text.end(), pattern.begin(), pattern.end(), [](char c, char wanted) {
    return wanted == '0' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : c == wanted;
  });
}

}  // namespace

std::string text_attribute(const Report& report, const char* name) {
  const auto found = report.attributes.find(name);
  if (found == report.attributes.end()) return {};
  const auto* text = std::get_if<std::string>(&found->second);
  return text == nullptr ? std::string() : *text;
}

std::string creation_time(const Report& report) {
  auto time = text_attribute(report, "created_utc");
  return looks_like(time, "0000-00-00T00:00:00Z") ? time : std::string();
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool has_checkpoint(const Report& report, const std::string& role) {
  return !text_attribute(report, (role + "_fingerprint").c_str()).empty();
}

}  // namespace winnow::report
