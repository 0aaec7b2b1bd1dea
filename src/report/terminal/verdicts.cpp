#include "verdicts.hpp"

#include "../tables/tables.hpp"
#include "grid.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kFew = 3;  // adapters of which those that pass are listed as well

std::string listed(const Analysis& analysis, const TableOptions& options) {
  const auto& report = analysis.report();
  auto adapters = adapters_by_verdict(report);
  if (report.adapters.size() > kFew) {
    std::erase_if(adapters, [&](std::size_t n) { return report.verdicts[n].verdict == verdict::Verdict::pass; });
  }
  const auto left = options.adapters == 0 ? 0 : adapters.size() - std::min(options.adapters, adapters.size());
  adapters.resize(adapters.size() - left);
  const auto table = select(adapters_table(analysis, adapters), {"verdict", "name", "verdict_reason"});
  return paragraphs(table, options.width) + and_more(left, options.width);
}

}  // namespace

std::string verdicts_text(const Analysis& analysis, const TableOptions& options) {
  const auto& report = analysis.report();
  std::string out = "\n";
  if (!report.verdicts.empty()) {
    out += wrapped("Verdicts: " + verdict_claim(report), 0, options.width) + listed(analysis, options);
  }
  return out + wrapped(verdict_summary(report), 0, options.width);
}

}  // namespace winnow::report
