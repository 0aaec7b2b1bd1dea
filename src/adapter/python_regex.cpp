// Python's regular expressions in PCRE2's syntax. The two agree on nearly everything; what follows are the differences.
#include <fmt/format.h>

#include <cctype>

#include "winnow/adapter/patterns.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/text.hpp"

namespace winnow::adapter {

namespace {

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (!at_end()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        repeat();
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  bool at_end() const { return at_ >= pattern_.size(); }
  bool is_digit(std::size_t at) const {
    return at < pattern_.size() && std::isdigit(static_cast<unsigned char>(pattern_[at])) != 0;
  }
  std::string_view rest() const { return pattern_.substr(at_); }

  [[noreturn]] void refuse(std::string_view why) const {
    throw base::Error(base::ErrorKind::invalid_input,
                      fmt::format("bad pattern \"{}\"", base::abbreviated(pattern_, 200)))
        .expected(fmt::format("a regular expression as Python's re module takes it: {} at position {}", why, at_));
  }

  /// A backslash and what belongs to it. Python refuses every letter it gives no meaning to; PCRE2 knows many more.
  void escape(bool in_class) {
    if (at_ + 1 >= pattern_.size()) refuse("a backslash at the end");
    const char c = pattern_[at_ + 1];
    if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const auto number = pattern_.substr(at_ + 2, digits);
      if (number.size() != digits || number.find_first_not_of("0123456789abcdefABCDEF") != number.npos) {
        refuse(fmt::format("an incomplete \\{}", c));
      }
      out_ += fmt::format("\\x{{{}}}", number);
      at_ += 2 + digits;
      return;
    }
    if (c == 'v') {
      out_ += "\\x0b";  // in PCRE2 a class of every vertical space
    } else if (c == 'Z' && !in_class) {
      out_ += "\\z";  // PCRE2's \Z also matches before a final newline
    } else if (std::isalpha(static_cast<unsigned char>(c)) != 0 &&
               std::string_view(in_class ? "abdDfnrsStwW" : "AabBdDfnrsStwW").find(c) == std::string_view::npos) {
      refuse(fmt::format("bad escape \\{}", c));
    } else if (c == '2' && !in_class && !is_digit(at_ + 2)) {
      refuse("a reference to an open group");  // the second group is the one around the key
    } else {
      out_ += '\\';
      out_ += c;
    }
    at_ += 2;
  }

  void character_class() {
    out_ += pattern_[at_++];
    if (!at_end() && pattern_[at_] == '^') out_ += pattern_[at_++];
    for (bool first = true;; first = false) {
      if (at_end()) refuse("an unterminated [");
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(true);
        continue;
      }
      if (c == ']' && !first) break;
      if (c == '[' || c == ']') out_ += '\\';  // [[:alpha:]] is no class in Python
      out_ += c;
      ++at_;
    }
    out_ += pattern_[at_++];
  }

  /// Python's extensions are a subset of PCRE2's; the rest (recursion, verbs, \K) must not slip through.
  void group() {
    if (rest().starts_with("(*")) refuse("nothing to repeat");
    if (rest().starts_with("(?")) {
      const auto tail = rest().substr(2);
      const auto is_any_of = [&](auto... heads) { return (tail.starts_with(heads) || ...); };
      if (tail.starts_with("#")) {
        const auto close = rest().find(')');
        if (close == std::string_view::npos) refuse("an unterminated comment");
        at_ += close + 1;
        return;
      }
      if (!is_any_of(":", "P<", "P=", "=", "!", "<=", "<!", ">", "(")) {
        const auto end = tail.find_first_not_of("imsx-");
        if (end == 0 || end == std::string_view::npos || tail[end] != ':') {
          refuse(end != 0 && end != std::string_view::npos && tail[end] == ')' ? "global flags not at the start"
                                                                               : "an unknown extension (?");
        }
      }
      if (tail.starts_with("(")) {  // a condition: only a group's number or name
        const auto close = tail.find(')');
        const auto condition = tail.substr(1, close == std::string_view::npos ? close : close - 1);
        for (const char c : condition) {
          if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') refuse("a bad group name");
        }
        if (condition.empty() || condition == "R" || condition == "DEFINE") refuse("a bad group name");
      }
    }
    out_ += pattern_[at_++];
    if (!at_end() && pattern_[at_] == '?') out_ += pattern_[at_++];
  }

  void repeat() {
    out_ += pattern_[at_++];
    // Python reads {,n} as {0,n}; PCRE2 before 10.43 takes it literally
    const auto tail = rest();
    if (!tail.starts_with(',')) return;
    const auto close = tail.find_first_not_of("0123456789", 1);
    if (close != std::string_view::npos && tail[close] == '}') out_ += '0';
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string python_to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace winnow::adapter
