// Renderings of a report for people and other programs. Pure: text in memory, the caller writes it.
#pragma once

#include <cstddef>
#include <map>
#include <string>

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

/// One CSV text per file name: modules.csv, adapters.csv, copies.csv (the directories that are judged with one of the
/// adapters), metrics.csv (long form: one row per adapter and module) and drift.csv (one row per checkpoint of a
/// training run, steps ascending).
std::map<std::string, std::string> render_csv(const Report& report);

/// Everything, as src/report/report.schema.json describes it; that is named by "$schema" and installed with the
/// program. What is not a number is null. Text that is not UTF-8 is made so.
std::string render_json(const Report& report);

/// A SARIF 2.1.0 log (OASIS, errata 01) of one run, a result for each adapter whose verdict is not pass and for each
/// that is quarantined; rules say what that means and what to do. Locations are the adapters' weights, relative to the
/// directory that holds them all. Without verdicts a notification says that nothing was judged. Same report, same text;
/// the fingerprint of a result depends on its rule and on the adapter's weights and scales alone.
std::string render_sarif(const Report& report);

/// A CycloneDX 1.6 bill of materials (JSON): checkpoints and adapters as machine-learning models, with their SHA-256
/// where the report has that of a file, what they came from (pedigree), what was measured, verdicts. Same report, same
/// text.
std::string render_bom(const Report& report);

/// One self-contained page: layer x role heat map of E-DIEM per adapter with the pruned cells marked, score
/// distribution, drift of training runs over their steps, run facts. Inline SVG and CSS, no script needed to read it,
/// no network.
std::string render_html(const Report& report);

}  // namespace winnow::report
