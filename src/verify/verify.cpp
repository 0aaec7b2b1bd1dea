#include "winnow/verify/verify.hpp"

#include <optional>
#include <string>

#include "adapters.hpp"
#include "checkpoint.hpp"
#include "jobs.hpp"
#include "statement.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::verify {
namespace {

/// What the coordinator knows while all ranks read.
struct Checks {
  Checks(const Request& request, const base::Log& log)
      : file(report::read_report_file(request.report)),
        report(file.report),
        base(report, "base", request.base, jobs, log),
        aligned(report, "aligned", request.aligned, jobs, log),
        adapters(report, request, jobs, log) {
    if (!request.statement.empty()) statement = compare_statement(request.statement, file);
  }

  report::ReportFile file;
  const report::Report& report;
  std::optional<Kind> statement;
  Jobs jobs;
  CheckpointCheck base, aligned;
  AdapterCheck adapters;
};

/// Of a report that has been read without an error: then its seal is that of its content.
Kind of_report(const std::string& path, const std::string& seal) {
  const bool is_sealed = !seal.empty();
  return {"report " + path,
          {{"the seal", is_sealed ? State::same : State::missing,
            "another program has written to it, or an earlier version made it"}},
          is_sealed ? "sealed with SHA-256 " + seal : std::string(),
          true};
}

}  // namespace

Result verify(const Request& request, comm::Communicator& world, const base::Log& log) {
  std::optional<Checks> checks;
  comm::from_coordinator(world, [&] {
    checks.emplace(request, log);
    return std::string();
  });
  const auto found = carry_out(checks ? checks->jobs : Jobs{}, world);
  Result result;
  if (!checks) return result;
  result.kinds.push_back(of_report(request.report, checks->file.seal));
  if (checks->statement) result.kinds.push_back(*checks->statement);
  const auto add = [&](std::vector<Kind> kinds) {
    for (auto& kind : kinds) result.kinds.push_back(std::move(kind));
  };
  add(checks->base.compare(found));
  add(checks->aligned.compare(found));
  add(checks->adapters.compare(found));
  return result;
}

}  // namespace winnow::verify
