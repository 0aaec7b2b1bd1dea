// Renderings of a report for people and other programs. The caller writes them: what is a page or a list is text in
// memory, what has a line for each module of each adapter comes in pieces.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "winnow/report/report.hpp"

namespace winnow::report {

struct TableOptions {
  std::size_t worst = 10;     ///< modules listed per adapter
  std::size_t width = 100;    ///< columns to stay within
  std::size_t adapters = 50;  ///< listed, worst first, and of the quarantined as many; 0: all
};

/// The table of `winnow report`: per adapter the worst layers first, the drift of training runs, a summary per role and
/// per depth, what was pruned and why, quarantined adapters with their reason.
std::string render_table(const Report& report, const TableOptions& options = {});

/// Takes the pieces of a text in their order.
using Sink = std::function<void(std::string_view piece)>;

/// The CSV files of a report: copies.csv has the directories that are judged with one of the adapters, metrics.csv
/// (long form) a row for each module of each adapter, drift.csv one for each checkpoint of a training run, steps
/// ascending.
inline constexpr std::array<std::string_view, 5> kCsvFiles{"modules.csv", "adapters.csv", "copies.csv", "metrics.csv",
                                                           "drift.csv"};
void write_csv(const Report& report, std::string_view file, const Sink& sink);  ///< one of kCsvFiles
std::map<std::string, std::string> render_csv(const Report& report);            ///< all of them, by name

/// Everything, as src/report/report.schema.json describes it; that is named by "$schema" and installed with the
/// program. What is not a number is null. Text that is not UTF-8 is made so.
void write_json(const Report& report, const Sink& sink);
std::string render_json(const Report& report);

/// A SARIF 2.1.0 log (OASIS, errata 01) of one run, a result for each adapter whose verdict is not pass and for each
/// that is quarantined; rules say what that means and what to do. Locations are the adapters' weights, relative to the
/// directory that holds them all. Without verdicts a notification says that nothing was judged. Same report, same text;
/// the fingerprint of a result depends on its rule and on the adapter's weights and scales alone.
std::string render_sarif(const Report& report);

/// A CycloneDX 1.6 bill of materials (JSON): checkpoints and adapters as machine-learning models, with their SHA-256
/// if the report has that of a file, what they came from (pedigree), what was measured, verdicts. Same report, same
/// text.
std::string render_bom(const Report& report);

/// One self-contained page: layer x role heat map of E-DIEM per adapter with the pruned cells marked, score
/// distribution, drift of training runs over their steps, run facts. Inline SVG and CSS, no script needed to read it,
/// no network.
std::string render_html(const Report& report);

}  // namespace winnow::report
