// A regular expression of Python's, compiled by PCRE2 and matched within bounds. Private to src/adapter.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace winnow::adapter {

class Expression {
 public:
  /// `whole`, already in PCRE2's syntax (python_to_pcre2), is anchored at the beginning as re.match does; messages show
  /// `key`. Throws Error(invalid_input) if it is none, or longer than any real one.
  Expression(std::string_view whole, std::string_view key);
  ~Expression();
  Expression(Expression&&) noexcept;
  Expression& operator=(Expression&&) noexcept;

  /// Throws Error(invalid_input) if it takes more than a bounded number of steps on `subject`.
  bool matches(std::string_view subject) const;
  /// What its group of this name matched; nothing if the whole does not match or the group took no part.
  std::optional<std::string> group(std::string_view subject, const char* name) const;

 private:
  struct Compiled;
  std::string key_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace winnow::adapter
