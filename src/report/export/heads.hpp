// Products by attention head as JSON. Private to src/report.
#pragma once

#include "../analysis.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {

/// The member `heads` with a comma before it, of a report that has them; a piece each probe and adapter.
void write_json_heads(const Analysis& analysis, const Sink& sink);

}  // namespace winnow::report
