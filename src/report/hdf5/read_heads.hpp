// Reads /heads. Private to src/report.
#pragma once

#include "source.hpp"
#include "winnow/report/report.hpp"

namespace winnow::report {

/// Of a report that has them, once its probes and adapters are read.
void read_heads(const Source& source, Report& report);

}  // namespace winnow::report
