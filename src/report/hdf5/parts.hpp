// Groups of a report that are written in files of their own. Private to src/report.
#pragma once

#include "image.hpp"
#include "winnow/report/report.hpp"

namespace winnow::report {

// Each writes nothing if the report has none. `adapters` and `modules`: the scales of the root group.
void write_probes(const Image& image, const Report& report, const Handle& adapters, const Handle& modules);
void write_bank(const Image& image, const Report& report);
void write_heads(const Image& image, const Report& report, const Handle& adapters);

}  // namespace winnow::report
