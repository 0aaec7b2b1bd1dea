// How an audit judges by what it measured.
#pragma once

#include <cstdint>
#include <string>

#include "winnow/metrics/population_metrics.hpp"
#include "winnow/select/selection.hpp"
#include "winnow/verdict/verdict.hpp"

namespace winnow::run {

struct Judging {
  std::string rank_by;  ///< empty: what methods::default_ranking() says
  select::Policy policy;
  select::Scope scope = select::Scope::adapter;  ///< zoo: by a metric that methods::is_comparable() alone
  metrics::Population population = metrics::Population::role;
  std::string bank;  ///< report of harmless adapters, compared with the same probes; empty for none
  double false_discovery_rate = verdict::kDefaultRate;  ///< that verdicts accept; of a run with a bank
  bool tells_of_small_bank = false;  ///< an exit code goes by the verdicts: a bank that can block nothing is told of
};

/// The metric that selects and orders modules, of a run that makes these sums, bits of methods::Sum.
std::string ranking_of(const Judging& judging, std::uint32_t sums);

}  // namespace winnow::run
