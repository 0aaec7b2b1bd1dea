// Tables of what scores come to over all adapters, by role and by layers. Private to src/report.
#pragma once

#include <vector>

#include "../analysis.hpp"
#include "table.hpp"

namespace winnow::report {

enum class Grouping : std::uint8_t { role, layers };

/// "role" or "layers".
std::string_view name(Grouping grouping);

/// One row each of `summaries`, which are of this grouping.
Table summaries_table(const Analysis& analysis, Grouping grouping, std::vector<Summary> summaries);

}  // namespace winnow::report
