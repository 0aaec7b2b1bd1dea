#include "winnow/judge/bank.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/methods/layer.hpp"
#include "winnow/metrics/alongside.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::judge {

using base::Error;
using base::ErrorKind;
using input::ProbeInput;

namespace {

/// Nothing if the adapters were not compared with two checkpoints.
const report::Metric* oppositions_of(const report::Report& bank) {
  const auto found = std::find_if(bank.of_adapters.begin(), bank.of_adapters.end(),
                                  [](const report::Metric& metric) { return metric.name == "alignment_opposition"; });
  return found == bank.of_adapters.end() ? nullptr : &*found;
}

double log_norm(const report::Report& bank, std::size_t adapter) {
  const auto modules = bank.modules.size();
  const auto* norms = bank.find_metric("update_norm");
  if (norms == nullptr) return methods::kUndefined;
  return metrics::log_norm(std::span(norms->values).subspan(adapter * modules, modules));
}

}  // namespace

Bank read_bank(const std::string& path, const std::vector<ProbeInput>& probes, bool pair) {
  const auto bank = report::read_hdf5(path);
  const auto cosines = report::probe_cosines(bank);
  const auto adapters = bank.adapters.size();
  std::vector<std::size_t> rows;  // of the bank, by probe of this run
  for (const auto& probe : probes) {
    const auto found = std::find_if(bank.probes.begin(), bank.probes.end(),
                                    [&](const report::ProbeRow& row) { return row.digest == probe.digest; });
    if (found == bank.probes.end()) {
      throw Error(ErrorKind::invalid_input, "the bank was not compared with one of the probes")
          .file(path)
          .expected(fmt::format("a report of an audit with {} as well", probe.source.path))
          .advice("audit the harmless adapters with the same --direction and --probe");
    }
    rows.push_back(static_cast<std::size_t>(found - bank.probes.begin()));
  }
  Bank result;
  result.path = path;
  std::vector<std::size_t> members;
  for (std::size_t n = 0; n < adapters; ++n) {
    if (bank.adapters[n].status != "ok") continue;
    members.push_back(n);
    result.members.push_back({bank.adapters[n].name, bank.adapters[n].sha256});
  }
  if (members.size() < metrics::kSmallestBank) {
    throw Error(ErrorKind::invalid_input, "the bank is too small to compare with")
        .file(path)
        .expected(fmt::format("{} harmless adapters at least, found {}", metrics::kSmallestBank, members.size()));
  }
  for (const auto row : rows) {
    for (const auto n : members) result.cosines.push_back(cosines[row * adapters + n]);
  }
  for (const auto n : members) result.log_norms.push_back(log_norm(bank, n));
  const auto* oppositions = pair ? oppositions_of(bank) : nullptr;
  if (pair && probes.empty() && oppositions == nullptr) {
    throw Error(ErrorKind::invalid_input, "the bank was not compared with two checkpoints")
        .file(path)
        .expected("a report of an audit with the same --base and --aligned")
        .advice("audit the harmless adapters with them");
  }
  if (oppositions != nullptr) {
    for (const auto n : members) result.oppositions.push_back(oppositions->values[n]);
    for (const auto& module : bank.modules) {
      result.digests[module.name] = {module.base_digest, module.aligned_digest};
    }
  }
  return result;
}

void require_same_weights(const Bank& bank, const report::Report& report) {
  for (const auto& module : report.modules) {
    const auto found = bank.digests.find(module.name);
    if (found == bank.digests.end()) continue;
    const auto require = [&](const char* which, const std::string& theirs, const std::string& mine) {
      if (theirs.empty() || mine.empty() || theirs == mine) return;
      throw Error(ErrorKind::invalid_input, "the bank was compared with other weights")
          .file(bank.path)
          .tensor(module.name)
          .expected(fmt::format("{} weight with digest {} as in this run, found {}", which, mine, theirs))
          .advice("audit the harmless adapters with the same --base and --aligned");
    };
    require("base", found->second.first, module.base_digest);
    require("aligned", found->second.second, module.aligned_digest);
  }
}

}  // namespace winnow::judge
