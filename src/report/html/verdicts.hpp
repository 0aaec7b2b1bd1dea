// Verdicts on the page. Private to src/report.
#pragma once

#include <cstddef>
#include <string>

#include "../analysis.hpp"

namespace winnow::report {

/// How many adapters are blocked, for review and incomplete, for the tiles at the top; empty without verdicts.
std::string verdict_tiles(const Report& report);

/// Who did not pass and why, the worst verdict first; without verdicts a sentence says what would give some.
std::string verdict_section(const Analysis& analysis);

/// The verdict of one adapter with its reason, a paragraph; empty without verdicts.
std::string verdict_of(const Report& report, std::size_t adapter);

}  // namespace winnow::report
