#include "winnow/judge/bank.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "winnow/base/error.hpp"
#include "winnow/methods/layer.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/metrics/alongside.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/verdict/false_discovery.hpp"

namespace winnow::judge {

using base::Error;
using base::ErrorKind;
using input::ProbeInput;
using metrics::Tail;

namespace {

double log_norm(const report::Report& report, std::size_t adapter) {
  const auto modules = report.modules.size();
  const auto* norms = report.find_metric("update_norm");
  if (norms == nullptr) return methods::kUndefined;
  return metrics::log_norm(std::span(norms->values).subspan(adapter * modules, modules));
}

/// A zoo that was audited whole, and is taken as a bank, may hold a harmful probe, or a safe one turned round.
bool is_harm(const std::string& digest, const std::vector<ProbeInput>& probes,
             const std::function<double(std::size_t)>& cosine_with) {
  for (std::size_t k = 0; k < probes.size(); ++k) {
    const auto effect = probes[k].source.effect;
    if (effect == probes::Effect::harmful && !digest.empty() && probes[k].digest == digest) return true;
    if (probes::is_harm_itself(effect, cosine_with(k))) return true;
  }
  return false;
}

/// The largest of many deviations finds less than that of the best one, so what another one sees as well stays out: on
/// the laboratory's models for choosing, opposition to the alignment step sees all that ablation does
/// (jobs/lab/README.md).
bool is_compared(std::string_view number, Operand operand, std::uint32_t sums) {
  if (number == methods::kShapeNumber) return (sums & methods::kSpreadSums) != 0;
  if (operand == Operand::none) return false;
  return (number == methods::kStepOpposition.length) == (operand == Operand::pair);
}

/// A cosine that few members have says nothing of what is usual, and each of these is measured by the others alone.
void require_known(const std::vector<double>& cosines, std::size_t first, const std::vector<std::size_t>& members,
                   const ProbeInput& probe, const std::string& path) {
  const auto known = static_cast<std::size_t>(
      std::count_if(members.begin(), members.end(), [&](std::size_t n) { return !std::isnan(cosines[first + n]); }));
  if (known >= metrics::kSmallestBank) return;
  throw Error(ErrorKind::invalid_input, "too few adapters of the bank share a module with one of the probes")
      .file(path)
      .expected(fmt::format("{} of its {} adapters at least that have modules of {}, found {}", metrics::kSmallestBank,
                            members.size(), probe.source.path, known))
      .advice("leave the probe out, or give a bank of adapters on the same modules");
}

/// It has the cosine, and not the length that is compared.
void require_lengths(const report::Report& bank, const std::string& path) {
  for (const auto& [length, angle] : {methods::kStepOpposition, methods::kWeightOpposition}) {
    if (bank.find_of_adapters(angle) == nullptr || bank.find_of_adapters(length) != nullptr) continue;
    throw Error(ErrorKind::invalid_input, "the bank was made by an earlier version")
        .file(path)
        .expected(fmt::format("a report with the number {} of adapters", length))
        .advice("audit the harmless adapters again");
  }
}

/// Without probes there must be something else that both are compared with.
void require_compared(const report::Report& bank, Operand operand, const std::string& path) {
  const bool pair = operand == Operand::pair;
  if (bank.find_of_adapters((pair ? methods::kStepOpposition : methods::kWeightOpposition).length) != nullptr) return;
  throw Error(ErrorKind::invalid_input, pair ? "the bank was not compared with two checkpoints"
                                             : "the bank was not compared with the aligned weights")
      .file(path)
      .expected(fmt::format("a report of an audit with the same {}--aligned", pair ? "--base and " : ""))
      .advice(pair ? "audit the harmless adapters with them" : "audit the harmless adapters with it alone");
}

}  // namespace

Bank read_bank(const std::string& path, const std::vector<ProbeInput>& probes, Operand operand, std::uint32_t sums,
               const std::string& scaling) {
  const auto bank = report::read_hdf5(path);
  if (const auto found = bank.attributes.find("scaling"); found != bank.attributes.end()) {
    const auto* theirs = std::get_if<std::string>(&found->second);
    if (theirs != nullptr && *theirs != scaling) {
      throw Error(ErrorKind::invalid_input, "the adapters of the bank were scaled otherwise")
          .file(path)
          .expected(fmt::format("a report made with --scaling {}, found {}", scaling, *theirs));
    }
  }
  const auto cosines = report::probe_cosines(bank), pulls = report::probe_pulls(bank);
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
  for (const auto& probe : probes) result.effects.push_back(probe.source.effect);
  std::vector<std::size_t> members;
  for (std::size_t n = 0; n < adapters; ++n) {
    const auto cosine_with = [&](std::size_t k) { return cosines[rows[k] * adapters + n]; };
    if (bank.adapters[n].status != "ok" || is_harm(bank.adapters[n].digest, probes, cosine_with)) continue;
    members.push_back(n);
    const auto& row = bank.adapters[n];  // of an earlier version without a digest, which then is nobody else's
    result.members.push_back({row.name, row.digest.empty() ? row.sha256 : row.digest});
  }
  if (members.size() < metrics::kSmallestBank) {
    throw Error(ErrorKind::invalid_input, "the bank is too small to compare with")
        .file(path)
        .expected(fmt::format("{} harmless adapters at least, found {}", metrics::kSmallestBank, members.size()));
  }
  for (std::size_t k = 0; k < rows.size(); ++k) require_known(cosines, rows[k] * adapters, members, probes[k], path);
  for (const auto row : rows) {
    const auto modules = bank.modules.size();
    const auto norm = metrics::whole_norm(std::span(bank.probe_norms).subspan(row * modules, modules));
    result.units.push_back(norm > 0 ? norm : 1);
    for (const auto n : members) result.pulls.push_back(pulls[row * adapters + n] / result.units.back());
  }
  for (const auto n : members) result.log_norms.push_back(log_norm(bank, n));
  if (operand != Operand::none) require_lengths(bank, path);
  if (operand != Operand::none && probes.empty()) require_compared(bank, operand, path);
  for (const auto name : methods::kBankNumbers) {
    const auto* number = is_compared(name, operand, sums) ? bank.find_of_adapters(name) : nullptr;
    if (number == nullptr) continue;
    result.numbers.push_back({number->name, number->units, number->long_name, {}});
    for (const auto n : members) result.numbers.back().values.push_back(number->values[n]);
  }
  if (operand != Operand::none && !result.numbers.empty()) {
    for (const auto& module : bank.modules) {
      result.digests[module.name] = {module.base_digest, module.aligned_digest};
    }
  }
  return result;
}

namespace {

/// What rounding leaves open: of a length along the alignment step in its unit, of which cosines of members say a
/// hundredth.
double least_spread(const report::Metric& number) {
  constexpr double kOfCosines = 1e-6, kOfTheLargest = 1e-4, kLeast = 1e-9;
  if (number.name != methods::kStepOpposition.length) return kOfCosines;
  double largest = 0;
  for (const double value : number.values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return std::max(kOfTheLargest * largest, kLeast);
}

}  // namespace

metrics::Bank bank_of(const report::Report& report) {
  // A factor of two weighs as one spread at least, however alike a bank was made. (What p it gets is a matter of
  // ranks.)
  constexpr double kLeastLogNorm = std::numbers::ln2;
  metrics::Bank bank;
  if (report.bank.empty()) return bank;
  for (const auto& member : report.bank) bank.ids.push_back(member.digest);
  const auto members = static_cast<std::ptrdiff_t>(report.bank.size());
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const auto first = report.bank_pulls.begin() + static_cast<std::ptrdiff_t>(k) * members;
    const bool safe = probes::effect_of(report.probes[k].effect) == probes::Effect::safe;
    const auto harm = safe ? Tail::lower : Tail::upper;
    bank.statistics.push_back({.values = {first, first + members}, .tail = harm, .unit = report.bank_units[k]});
  }
  bank.statistics.push_back({report.bank_log_norms, Tail::upper, kLeastLogNorm});
  for (const auto& number : report.bank_numbers) {
    bank.statistics.push_back({number.values, Tail::upper, least_spread(number), 1, number.name});
  }
  return bank;
}

Threshold threshold(const Bank& bank, double level) {
  report::Report report;
  for (const auto effect : bank.effects) report.probes.emplace_back().effect = probes::name(effect);
  report.bank_units = bank.units;
  report.bank = bank.members;
  report.bank_pulls = bank.pulls;
  report.bank_log_norms = bank.log_norms;
  report.bank_numbers = bank.numbers;
  auto deviations = metrics::member_deviations(bank_of(report));
  std::erase_if(deviations, [](double deviation) { return std::isnan(deviation); });
  if (deviations.empty()) return {};
  std::sort(deviations.begin(), deviations.end(), std::greater<>());
  // p = (1 + members at least as deviant)/(1 + members): beyond the k-th largest at most k - 1 members are.
  const auto all = static_cast<double>(1 + deviations.size());
  std::size_t k = 0;
  while (k < deviations.size() && verdict::at_most(static_cast<double>(k + 1) / all, level)) ++k;
  return {deviations[std::max<std::size_t>(k, 1) - 1], k > 0};
}

void require_same_weights(const Bank& bank, const report::Report& report) {
  const bool shares = std::any_of(report.modules.begin(), report.modules.end(),
                                  [&](const auto& module) { return bank.digests.contains(module.name); });
  if (!bank.digests.empty() && !report.modules.empty() && !shares) {
    throw Error(ErrorKind::invalid_input, "the bank has no module in common with the adapters")
        .file(bank.path)
        .expected(fmt::format("modules such as {}, found {}", report.modules.front().name, bank.digests.begin()->first))
        .advice("give a bank of adapters of the same model");
  }
  for (const auto& module : report.modules) {
    const auto found = bank.digests.find(module.name);
    if (found == bank.digests.end()) continue;
    const auto require = [&](const char* which, const std::string& theirs, const std::string& mine) {
      if (theirs.empty() || mine.empty() || theirs == mine) return;
      throw Error(ErrorKind::invalid_input, "the bank was compared with other weights")
          .file(bank.path)
          .tensor(module.name)
          .expected(fmt::format("{} weight with digest {} as in this run, found {}", which, mine, theirs))
          .advice("audit the harmless adapters with the same checkpoints");
    };
    require("base", found->second.first, module.base_digest);
    require("aligned", found->second.second, module.aligned_digest);
  }
}

}  // namespace winnow::judge
