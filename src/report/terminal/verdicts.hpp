// The verdicts at the end of a table. Private to src/report.
#pragma once

#include <string>

#include "../analysis.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {

/// Who did not pass and why, the worst verdict first; of a few adapters all. Ends with one line that counts them.
std::string verdicts_text(const Analysis& analysis, const TableOptions& options);

}  // namespace winnow::report
