// What the scaling model says of a plan, as text for people, and how far it is from runs that were timed.
#pragma once

#include <string>

#include "winnow/forecast/cost_model.hpp"
#include "winnow/forecast/plan.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/measuring.hpp"

namespace winnow::forecast {

/// Constants and where they are from: the file, empty for default_constants().
struct KnownConstants {
  CostConstants constants;
  std::string file;
};

/// Of `file`; if that is empty, of default_constants_path() or, if nothing is there, default_constants().
KnownConstants known_constants(const std::string& file);

/// Seconds per stage, total, GB/s, bottleneck and where arithmetic takes over.
std::string render_prediction(const AuditPlan& plan, const KnownConstants& known, const Site& site);

/// The same for programs, as JSON: schema_version 1, seconds and bytes, null for what does not apply.
std::string prediction_json(const AuditPlan& plan, const KnownConstants& known, const Site& site);

/// Predicts the run that wrote `report` for the number of ranks it had and sets that beside the seconds it recorded:
/// means over its ranks, residuals in percent of what was recorded. Threads, ranks per node and page cache are those of
/// `site`: reports do not tell. Throws Error(invalid_input) if the report is of other checkpoints, adapters or
/// options that change the work. `path` names it in errors.
std::string render_check(const AuditPlan& plan, const report::Report& report, const std::string& path,
                         const KnownConstants& known, const run::Means& means, const run::Measuring& measuring,
                         const Site& site);

}  // namespace winnow::forecast
