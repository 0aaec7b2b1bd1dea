#include <algorithm>

#include "tables.hpp"

namespace winnow::report {

using enum Format;

Table summaries_table(const Analysis& analysis, std::string_view by, std::vector<Summary> summaries) {
  const auto title = methods::title_of(analysis.rank_by());
  // Scores among peers of one role have a median of 0 in each role, which says nothing.
  const auto* compared = by == "role" && analysis.report().population == "role" ? analysis.compared() : nullptr;
  const auto selected = [](const Summary& row) {
    return static_cast<double>(row.pruned) / static_cast<double>(row.scored);
  };
  double most = 0;
  for (const auto& row : summaries) most = std::max(most, selected(row));
  TableOf<Summary> t(std::string(by), "label", std::move(summaries));
  t.add({"label", std::string(by)}, &Summary::label);
  t.add({"scored", "scored", "", number, 3}, &Summary::scored);
  t.add({"worst", "worst " + title, "worst", number}, &Summary::worst);
  t.add({"misalignment", "worst misalignment", "misalign", number, 1, analysis.misalignment_beside()},
        &Summary::misalignment);
  t.add({"modules_pruned", "selected", "", number}, [=](const Summary& row) {
    Cell cell(row.pruned);
    cell.meter = most > 0 ? selected(row) / most : 0;
    return cell;
  });
  t.add({"modules_undoing", "take back", "undoing", number, 2, analysis.knows_alignment()}, &Summary::undoing);
  if (compared == nullptr) {
    t.add({"median", "median " + title, "median", number, 1}, &Summary::median);
  } else {
    const std::string dataset(compared->name);
    t.add({"median", "median " + methods::title_of(dataset), "median " + dataset, significant, 1}, &Summary::compared);
  }
  return std::move(t.table);
}

}  // namespace winnow::report
