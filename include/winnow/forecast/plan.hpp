// What an audit would do, without reading a single weight: for `winnow plan`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/forecast/cost_model.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/run/options.hpp"

namespace winnow::forecast {

/// That can be planned for.
inline constexpr int kMostRanks = 1'000'000;

struct RankLoad {
  std::uint64_t modules = 0, weight_bytes = 0, adapter_bytes = 0;
  double flops = 0;
  std::uint64_t memory_bytes = 0;  ///< slabs and matrices of its largest module, libraries aside
};

struct AuditPlan {
  input::Inputs inputs;
  int team = 1;                 ///< ranks that share a module
  std::vector<int> owner;       ///< [tasks]: the team, which is the rank if teams are of one
  std::vector<RankLoad> ranks;  ///< [ranks]
  double imbalance = 1;
  AuditWork work;  ///< for the scaling model
};

/// Collective; `ranks` is how many ranks to plan for, whatever the number of those that plan. Throws as audit() does.
AuditPlan plan_audit(const run::AuditOptions& options, int ranks, comm::Communicator& world, const base::Log& log);

/// What render_plan() lists one by one, whatever their number.
struct PlanDetail {
  bool every_module = false, every_rank = false;
};

/// As text for people: name mapping, shards, bytes, flops, memory, assignment to ranks. More than 8 ranks are summed up
/// by the least, the median and the most of each column, and only the 4 that read most are listed.
std::string render_plan(const AuditPlan& plan, const PlanDetail& detail);

}  // namespace winnow::forecast
