#include "verdicts.hpp"

#include <fmt/format.h>

#include "../text.hpp"
#include "grid.hpp"
#include "winnow/base/text.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kFew = 3;             // adapters of which those that pass are listed as well
constexpr std::size_t kReasonShown = 1000;  // bytes; the report has all

std::string listed(const Report& report, const TableOptions& options) {
  std::string out;
  std::size_t shown = 0, left = 0;
  for (const auto n : adapters_by_verdict(report)) {
    const auto& [verdict, reason] = report.verdicts[n];
    if (verdict == verdict::Verdict::pass && report.adapters.size() > kFew) continue;
    if (options.adapters != 0 && shown == options.adapters) {
      ++left;
      continue;
    }
    ++shown;
    out += wrapped(fmt::format("{} {}: {}", verdict::name(verdict), for_terminal(report.adapters[n].name),
                               for_terminal(base::abbreviated(reason, kReasonShown))),
                   2, options.width);
  }
  if (left != 0) out += wrapped(fmt::format("and {} more: --adapters 0, --csv, --html", left), 2, options.width);
  return out;
}

}  // namespace

std::string verdicts_text(const Report& report, const TableOptions& options) {
  std::string out = "\n";
  if (!report.verdicts.empty()) {
    out += wrapped("Verdicts: " + verdict_claim(report), 0, options.width) + listed(report, options);
  }
  return out + wrapped(verdict_summary(report), 0, options.width);
}

}  // namespace winnow::report
