// rank_pattern and alpha_pattern: Python regular expressions that give a module its own r and alpha, and the scale.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace winnow::adapter {

struct PeftConfig;

/// An ordered pattern table: the first key that matches wins.
using PatternTable = std::vector<std::pair<std::string, double>>;

/// A pattern, compiled once. Python's syntax, lookaheads included, by PCRE2.
class Pattern {
 public:
  /// How PEFT compares it with a module's name.
  enum class Form : std::uint8_t {
    end,    ///< re.match(rf"(.*\.)?({key})$"): rank_pattern, alpha_pattern (peft, utils/other.py, get_pattern_key)
    whole,  ///< re.fullmatch(key): target_modules, exclude_modules (match_target_against_key)
    parts,  ///< re.match(rf"(^|.*\.){key}($|\..*)"): modules_to_save (tuners_utils.py, check_target_module_exists)
  };

  /// Throws Error(invalid_input) if `key` is not a regular expression of Python's.
  explicit Pattern(std::string_view key, Form form = Form::end);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// Throws Error(invalid_input) if the pattern takes more than a bounded number of steps on this name.
  bool matches(std::string_view module) const;

 private:
  struct Compiled;
  std::string key_;
  std::unique_ptr<Compiled> compiled_;
};

/// Whether `key` matches module `module`; for one question only, since the pattern is compiled anew.
bool pattern_matches(std::string_view key, std::string_view module);

/// `pattern`, a Python regular expression (3.11), in PCRE2's syntax, which differs in details: \Z, \v, \uXXXX, {,n},
/// "[" inside a class. Throws Error(invalid_input) for what Python would refuse but PCRE2 take for something else.
std::string python_to_pcre2(std::string_view pattern);

struct Scaling {
  double alpha = 0;
  double scale = 0;  ///< alpha/r, or alpha/sqrt(r) with rsLoRA
};

/// The scaling rules of one adapter. Modules are named without `base_model.model.`.
class ScalingRules {
 public:
  /// Throws Error(invalid_input) for a bad pattern. Keeps no reference to `config`.
  explicit ScalingRules(const PeftConfig& config);

  double configured_rank(std::string_view module) const;  ///< r after rank_pattern
  /// Scale of a module with alpha after alpha_pattern and `rank` the true r: the rows of lora_A, at least 1.
  Scaling scaling(std::string_view module, std::uint64_t rank) const;

 private:
  using Table = std::vector<std::pair<Pattern, double>>;
  static Table compile(const PatternTable& table);
  static std::optional<double> find(const Table& table, std::string_view module);

  double r_, alpha_;
  bool rslora_;
  Table ranks_, alphas_;
};

/// The same for one module only.
Scaling module_scaling(const PeftConfig& config, std::string_view module, std::uint64_t rank);

}  // namespace winnow::adapter
