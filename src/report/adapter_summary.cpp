#include "winnow/report/adapter_summary.hpp"

#include <algorithm>

#include "analysis.hpp"

namespace winnow::report {

std::vector<AdapterSummary> summarise_adapters(const Report& report) {
  const Analysis analysis(report);
  std::vector<AdapterSummary> summaries(report.adapters.size());
  for (const auto& adapter : analysis.adapters()) {
    auto& summary = summaries[adapter.index];
    summary.modules_scored = adapter.ranking.size();
    summary.modules_pruned = adapter.pruned;
    summary.zoo_rank = adapter.zoo_rank;
    if (adapter.ranking.empty()) continue;
    summary.share_pruned = adapter.share_pruned();
    summary.worst_score = analysis.worst_score(adapter);
    const auto listed = std::min(kWorstModulesListed, adapter.ranking.size());
    summary.worst_modules.assign(adapter.ranking.begin(),
                                 adapter.ranking.begin() + static_cast<std::ptrdiff_t>(listed));
  }
  return summaries;
}

}  // namespace winnow::report
