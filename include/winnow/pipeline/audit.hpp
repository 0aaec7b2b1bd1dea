// The audit: the one place that reads as the data flow.
#pragma once

#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/options.hpp"
#include "winnow/report/report.hpp"

namespace winnow::pipeline {

/// A pruned copy of an adapter that was written, or was not because nothing would be left of it.
struct RepairedAdapter {
  std::string name, path;
  bool written = false;
  std::uint64_t kept = 0, pruned = 0;
};

struct AuditResult {
  report::Report report;                  ///< on the coordinator; empty elsewhere
  std::vector<RepairedAdapter> repaired;  ///< likewise, in adapter order
};

/// Collective over `world`. Where any rank fails, every rank throws the same Error and no rank hangs.
AuditResult audit(const AuditOptions& options, comm::Communicator& world, const base::Log& log);

}  // namespace winnow::pipeline
