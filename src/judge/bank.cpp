#include "winnow/judge/bank.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::judge {

using base::Error;
using base::ErrorKind;
using input::ProbeInput;

BankCosines read_bank(const std::string& path, const std::vector<ProbeInput>& probes) {
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
  BankCosines result;
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
  return result;
}

}  // namespace winnow::judge
