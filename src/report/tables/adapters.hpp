// Tables of adapters and of their copies. Private to src/report.
#pragma once

#include <cstddef>
#include <vector>

#include "../analysis.hpp"
#include "table.hpp"

namespace winnow::report {

/// A row each of `adapters`, places in Report::adapters: those of the zoo, the worst first, the quarantined, or those
/// that did not pass.
Table adapters_table(const Analysis& analysis, const std::vector<std::size_t>& adapters);

/// The verdict of adapter n; nothing without verdicts.
Cell verdict_cell(const Report& report, std::size_t n);

/// Directories that are judged with one of the adapters: the first `rows` of them.
Table copies_table(const Report& report, std::size_t rows);

}  // namespace winnow::report
