// The audit: the one place that reads as the data flow.
#pragma once

#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/judge/bank.hpp"
#include "winnow/output/repaired_adapters.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/options.hpp"

namespace winnow::pipeline {

struct AuditResult {
  report::Report report;                          ///< on the coordinator; empty elsewhere
  std::vector<output::RepairedAdapter> repaired;  ///< likewise, in adapter order
};

/// What adapters are compared with, opened and checked once for many audits that differ in their adapters alone.
struct Prepared {
  input::References references;
  judge::Bank bank;          ///< without members if options.judge.bank is empty
  judge::Threshold unusual;  ///< of the deviation of one adapter that is audited by itself; NaN without a bank
};

/// For a single process. Throws Error as audit() does for options, checkpoints, probes and a bank.
Prepared prepare(const run::AuditOptions& options, const base::Log& log);

/// Collective over `world`. If any rank fails, every rank throws the same Error and no rank hangs. With `prepared`,
/// of the same options but for the adapters, nothing of that is opened again; the result is the same.
AuditResult audit(const run::AuditOptions& options, comm::Communicator& world, const base::Log& log,
                  const Prepared* prepared = nullptr);

}  // namespace winnow::pipeline
