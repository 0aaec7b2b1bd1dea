// The section of the HTML page on training runs. Private to src/report.
#pragma once

#include <set>
#include <string>

#include "../analysis.hpp"

namespace winnow::report {

/// Charts over the steps, the modules that drifted most and every step in a table, for the worst runs; one row with a
/// sparkline for each if there are several. Empty if there is no run. Of the adapters those among `anchors` have
/// an article to link to.
std::string drift_section(const Analysis& analysis, const std::set<std::string>& anchors);

}  // namespace winnow::report
