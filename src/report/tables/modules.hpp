// Tables of modules: what the report says of each, and its scores in an adapter. Private to src/report.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "../analysis.hpp"
#include "table.hpp"

namespace winnow::report {

/// A dataset as people are shown it.
struct ShownMetric {
  const Metric* metric = nullptr;
  std::string title, narrow;  ///< for a page, and short for a terminal
  Format format = Format::number;
};

/// The metric that orders first, with what explains it, then those it is usually compared with, as far as the report
/// has them.
std::vector<ShownMetric> shown_metrics(const Analysis& analysis);

/// The value of a dataset for module m of adapter n: nothing where it is not defined, or a category that says so.
Cell shown_cell(const Analysis& analysis, const ShownMetric& shown, std::size_t n, std::size_t m);

Table modules_table(const Report& report);

/// For people: `modules` of adapter n in this order, with what is shown of them.
Table worst_modules_table(const Analysis& analysis, std::size_t n, const std::vector<std::size_t>& modules);

/// For programs: all datasets, a row for each module of each adapter.
Table scores_table(const Analysis& analysis);

/// The datasets that hold categories, or the others.
std::vector<const Metric*> metrics_of(const Report& report, bool categories);

}  // namespace winnow::report
