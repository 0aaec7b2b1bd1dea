// The drift of training runs in the table. Private to src/report.
#pragma once

#include <string>

#include "../analysis.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {

/// The scores of each training run over its steps, and the modules whose E-DIEM rose most; empty if there is no run.
std::string drift_text(const Analysis& analysis, const TableOptions& options);

}  // namespace winnow::report
