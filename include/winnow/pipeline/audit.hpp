// The audit: the one place that reads as the data flow.
#pragma once

#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/output/repaired_adapters.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/options.hpp"

namespace winnow::pipeline {

struct AuditResult {
  report::Report report;                          ///< on the coordinator; empty elsewhere
  std::vector<output::RepairedAdapter> repaired;  ///< likewise, in adapter order
};

/// Collective over `world`. Where any rank fails, every rank throws the same Error and no rank hangs.
AuditResult audit(const run::AuditOptions& options, comm::Communicator& world, const base::Log& log);

}  // namespace winnow::pipeline
