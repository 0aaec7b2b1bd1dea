// Tables as CSV. Private to src/report.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace winnow::report {

/// Lines of RFC 4180: CRLF, fields quoted where they must be. NaN is an empty field. Text that a spreadsheet would run
/// as a formula gets a quote before it, as OWASP's "CSV Injection" advises; numbers are what they are.
class Csv {
 public:
  Csv& field(std::string_view text) {
    separate();
    const std::string_view guard = is_formula(text) ? "'" : "";
    if (text.find_first_of("\",\r\n") == std::string_view::npos) {
      text_ += guard;
      text_ += text;
      return *this;
    }
    text_ += '"';
    text_ += guard;
    for (const char c : text) {
      if (c == '"') text_ += '"';
      text_ += c;
    }
    text_ += '"';
    return *this;
  }
  Csv& field(double value) {
    separate();
    if (!std::isnan(value)) fmt::format_to(std::back_inserter(text_), "{}", value);  // shortest that reads back equal
    return *this;
  }
  template <class T>
  requires std::is_integral_v<T> Csv& field(T value) {
    separate();
    fmt::format_to(std::back_inserter(text_), "{}", value);
    return *this;
  }
  void end() {
    text_ += "\r\n";
    fresh_ = true;
  }
  std::string take() { return std::move(text_); }

 private:
  static bool is_formula(std::string_view text) {
    return !text.empty() && std::string_view("=+-@\t\r\n").find(text[0]) != std::string_view::npos;
  }
  void separate() {
    if (!fresh_) text_ += ',';
    fresh_ = false;
  }
  std::string text_;
  bool fresh_ = true;
};

}  // namespace winnow::report
