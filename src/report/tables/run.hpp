// Tables of what was read and what it took. Private to src/report.
#pragma once

#include "../analysis.hpp"
#include "table.hpp"

namespace winnow::report {

/// For people: the stages over all ranks.
Table stages_table(const Report& report);

/// What each rank spent in each stage.
Table run_table(const Report& report);

/// The files of weights.
Table shards_table(const Report& report);

}  // namespace winnow::report
