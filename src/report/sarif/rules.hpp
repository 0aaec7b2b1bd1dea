// What SARIF calls rules: the kinds of findings, and what is said of each. Private to src/report.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "winnow/report/report.hpp"

namespace winnow::report::sarif {

/// Identifiers are kept for ever: others remember findings by them.
struct Rule {
  std::string_view id, name, level;
  std::string_view summary, description, help;
};

extern const std::array<Rule, 5> kRules;

/// A notification: of the audit, of no adapter.
struct Notice {
  std::string_view id, name, level, summary;
};
extern const std::array<Notice, 2> kNotices;
enum NoticeIndex : std::size_t { kNothingJudged, kClaim };

/// Which rule adapters of one report come under. It must outlive this.
class Findings {
 public:
  explicit Findings(const Report& report);

  /// Position in kRules of what is found of an adapter; nothing of one that passed, or was not judged.
  std::optional<std::size_t> rule_of(std::size_t adapter) const;

 private:
  bool has_selected_modules(std::size_t adapter) const;

  const Report& report_;
  bool selection_tells_;  ///< its policy selects nothing where there is nothing
};

}  // namespace winnow::report::sarif
