#include "summaries.hpp"

#include <algorithm>

namespace winnow::report {
namespace {

double share_pruned(const Summary& row) { return static_cast<double>(row.pruned) / static_cast<double>(row.scored); }

}  // namespace

std::string_view name(Grouping grouping) { return grouping == Grouping::role ? "role" : "layers"; }

Table summaries_table(const Analysis& analysis, Grouping grouping, std::vector<Summary> summaries) {
  const auto rank_title = methods::title_of(analysis.rank_by());
  // Scores among peers of one role have a median of 0 in each role, which says nothing.
  const bool among_peers = grouping == Grouping::role && analysis.report().population == "role";
  const auto* compared = among_peers ? analysis.compared() : nullptr;
  double largest = 0;
  for (const auto& row : summaries) largest = std::max(largest, share_pruned(row));
  TableOf<Summary> table(std::string(name(grouping)), std::move(summaries));
  table.add({.name = "label", .title = std::string(name(grouping)), .head = true}, &Summary::label)
      .add({.name = "scored", .title = "scored", .format = Format::number, .priority = 3}, &Summary::scored)
      .add({.name = "worst", .title = "worst " + rank_title, .narrow = "worst", .format = Format::number},
           &Summary::worst)
      .add({.name = "misalignment",
            .title = "worst misalignment",
            .narrow = "misalign",
            .format = Format::number,
            .priority = 1,
            .known = analysis.misalignment_beside()},
           &Summary::misalignment)
      .add({.name = "modules_pruned", .title = "selected", .format = Format::number},
           [largest](const Summary& row) {
             Cell cell(row.pruned);
             cell.meter = largest > 0 ? share_pruned(row) / largest : 0;
             return cell;
           })
      .add({.name = "modules_undoing",
            .title = "take back",
            .narrow = "undoing",
            .format = Format::number,
            .priority = 2,
            .known = analysis.knows_alignment()},
           &Summary::undoing);
  if (compared == nullptr) {
    table.add({.name = "median",
               .title = "median " + rank_title,
               .narrow = "median",
               .format = Format::number,
               .priority = 1},
              &Summary::median);
  } else {
    table.add({.name = "median",
               .title = "median " + methods::title_of(compared->name),
               .narrow = "median " + std::string(compared->name),
               .format = Format::significant,
               .priority = 1},
              &Summary::compared);
  }
  return table.take();
}

}  // namespace winnow::report
