#include "winnow/report/verdicts.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis.hpp"
#include "winnow/report/ablated_module.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/verdict/false_discovery.hpp"

namespace winnow::report {

using verdict::Verdict;

namespace {

/// Adapters with a p.
std::size_t tested(const Report& report) {
  const auto* p = report.find_of_adapters("bank_p");
  if (p == nullptr) return 0;
  return static_cast<std::size_t>(
      std::count_if(p->values.begin(), p->values.end(), [](double value) { return !std::isnan(value); }));
}

}  // namespace

std::size_t count_of(const Report& report, Verdict verdict) {
  const auto count = std::count_if(report.verdicts.begin(), report.verdicts.end(),
                                   [&](const auto& judgement) { return judgement.verdict == verdict; });
  return static_cast<std::size_t>(count);
}

std::size_t verdict_place(const Report& report, std::size_t adapter) {
  if (report.verdicts.empty()) return 0;
  const auto& all = verdict::kVerdicts;
  return static_cast<std::size_t>(std::find(all.begin(), all.end(), report.verdicts[adapter].verdict) - all.begin());
}

std::vector<std::size_t> adapters_by_verdict(const Report& report) {
  const auto scores = adapter_scores(report).values;
  std::vector<std::size_t> order(report.verdicts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto one = verdict_place(report, a), other = verdict_place(report, b);
    if (one != other) return one < other;
    if (std::isnan(scores[a]) || std::isnan(scores[b])) return !std::isnan(scores[a]) && std::isnan(scores[b]);
    return scores[a] > scores[b];
  });
  return order;
}

bool has_findings(const Report& report) {
  if (count_of(report, Verdict::block) + count_of(report, Verdict::incomplete) != 0) return true;
  for (std::size_t n = 0; n < report.verdicts.size(); ++n) {
    if (ablated_module(report, n)) return true;
  }
  return false;
}

std::string verdict_summary(const Report& report) {
  if (report.verdicts.empty()) {
    if (!report.bank.empty()) return "no verdicts: the report was made by an earlier version; audit again";
    return "no verdicts: without --bank REPORT.h5 of harmless adapters no error rate is known";
  }
  const auto all = report.verdicts.size();
  std::vector<std::string> counts;
  for (const auto verdict : verdict::kVerdicts) {
    counts.push_back(fmt::format("{} {}", verdict::name(verdict), count_of(report, verdict)));
  }
  return fmt::format("{} of {} adapter{} did not pass: {}", all - count_of(report, Verdict::pass), all,
                     all == 1 ? "" : "s", fmt::join(counts, ", "));
}

std::string verdict_claim(const Report& report) {
  if (report.verdicts.empty()) return {};
  return verdict::claim(report.bank.size(), tested(report), report.false_discovery_rate);
}

std::string unblocked_warning(const Report& report) {
  std::size_t reviewed = 0;  // ablations are findings
  for (std::size_t n = 0; n < report.verdicts.size(); ++n) {
    reviewed += report.verdicts[n].verdict == Verdict::review && !ablated_module(report, n) ? 1 : 0;
  }
  if (reviewed == 0 || count_of(report, Verdict::block) != 0) return {};
  if (!verdict::without_blocks(report.bank.size(), report.false_discovery_rate).empty()) return {};  // that is said
  const double smallest = 1 / static_cast<double>(1 + report.bank.size());
  const auto together = verdict::needed(smallest, tested(report), report.false_discovery_rate);
  if (together <= 1) return {};
  return fmt::format(
      "--fail-on-findings does not count the {} adapter{} for review; with this bank {} of {} would have to be more "
      "unusual than all of it before any is blocked: audit fewer at a time, or give a bank of {}",
      reviewed, reviewed == 1 ? "" : "s", together, tested(report),
      verdict::smallest_bank(tested(report), report.false_discovery_rate));
}

}  // namespace winnow::report
