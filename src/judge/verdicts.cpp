#include "verdicts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/text.hpp"
#include "winnow/judge/bank.hpp"
#include "winnow/methods/layer.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/probes/source.hpp"
#include "winnow/report/ablated_module.hpp"

namespace winnow::judge {
namespace {

constexpr std::size_t kQuoted = 200;  // bytes of a text that a reason quotes; its own dataset has all

/// The numbers of methods/bank.cpp, which a report with a bank has.
const std::vector<double>& of_adapters(const report::Report& report, std::string_view name) {
  return report.find_of_adapters(name)->values;
}

/// Whether one of the first `statistics` of the bank is known of a member.
bool is_known(const metrics::Bank& bank, std::size_t member, std::size_t statistics) {
  const auto first = bank.statistics.begin();
  return std::any_of(first, first + static_cast<std::ptrdiff_t>(statistics),
                     [&](const auto& statistic) { return !std::isnan(statistic.values[member]); });
}

/// An adapter of the bank is compared with the others, and one of which nothing is known compares with nothing.
double smallest_p(const metrics::Bank& bank, const std::string& id, std::size_t statistics) {
  std::size_t members = 0;
  for (std::size_t m = 0; m < bank.ids.size(); ++m)
    members += bank.ids[m] != id && is_known(bank, m, statistics) ? 1U : 0U;
  return 1 / static_cast<double>(1 + members);
}

/// "cosine 0.31 with the harmful probe refusal".
std::string along_probe(const report::Report& report, std::size_t probe, double cosine) {
  const auto& row = report.probes[probe];
  return fmt::format("cosine {:.3g} with the {} probe {}", cosine, row.effect, base::abbreviated(row.name, kQuoted));
}

/// "cosine 0.31 with the harmful probe refusal, pull 0.4, of which the median of the bank is 0.02". `cosines` are those
/// of report::probe_cosines().
std::string finding(const report::Report& report, std::size_t adapter, const std::vector<double>& cosines) {
  const double which = of_adapters(report, "bank_statistic")[adapter];
  if (std::isnan(which)) return {};
  const auto k = static_cast<std::size_t>(which), probes = report.probes.size();
  const double value = of_adapters(report, "bank_value")[adapter], median = of_adapters(report, "bank_median")[adapter];
  if (k < probes) {
    return fmt::format("{}, pull {:.3g}, of which the median of the bank is {:.3g}",
                       along_probe(report, k, cosines[k * report.adapters.size() + adapter]), value, median);
  }
  if (k == probes) {
    return fmt::format("its update has norm {:.3g}, the median of the bank is {:.3g}", std::exp(value),
                       std::exp(median));
  }
  const auto& number = report.bank_numbers.at(k - probes - 1).name;
  if (number == "ablation_max") {
    return fmt::format(
        "ablation {:.3g} of what the weights write along one direction (1: all), median of the bank {:.3g}", value,
        median);
  }
  if (number == methods::kShapeNumber) {
    return fmt::format("{:.3g} of a module's update is in its 8 largest outputs, median of the bank {:.3g}", value,
                       median);
  }
  const bool of_step = number == methods::kStepOpposition.length;
  const auto angle = (of_step ? methods::kStepOpposition : methods::kWeightOpposition).angle;
  return fmt::format(
      "cosine {:.3g} with what takes {} back, {:.3g} along it, of which the median of the bank is {:.3g}",
      of_adapters(report, angle)[adapter], of_step ? "the alignment step" : "the weights", value, median);
}

/// Which probe it runs against.
std::string against(const report::Report& report, std::size_t adapter, const std::vector<double>& cosines) {
  if (report.probes.empty()) return {};
  const double which = of_adapters(report, "bank_against_probe")[adapter];
  if (std::isnan(which)) return {};
  const auto k = static_cast<std::size_t>(which);
  return along_probe(report, k, cosines[k * report.adapters.size() + adapter]);
}

/// "3 modules without ..., the first is ...".
std::string counted(const std::vector<std::size_t>& modules, const report::Report& report, std::string_view what) {
  return fmt::format("{} module{} {}, the first is {}", modules.size(), modules.size() == 1 ? "" : "s", what,
                     base::abbreviated(report.modules[modules.front()].name, kQuoted));
}

/// Which harm the adapter is itself, in words; empty if it is none. `cosines` are those of report::probe_cosines().
std::string known_harm(const report::Report& report, std::size_t n, const std::vector<double>& cosines) {
  const auto& digest = report.adapters[n].digest;
  std::string stored_otherwise;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const auto& probe = report.probes[k];
    const auto effect = probes::effect_of(probe.effect);
    const auto name = base::abbreviated(probe.name, kQuoted);
    const bool harmful = effect == probes::Effect::harmful;
    if (harmful && !digest.empty() && probe.digest == digest)
      return fmt::format("it is the harmful probe {} itself", name);
    const double cosine = cosines[k * report.adapters.size() + n];
    if (!stored_otherwise.empty() || !probes::is_harm_itself(effect, cosine)) continue;
    stored_otherwise =
        harmful ? fmt::format("it is the harmful probe {}, stored in another way (cosine {:.3g})", name, cosine)
                : fmt::format("it is the safe probe {}, turned round (cosine {:.3g})", name, cosine);
  }
  return stored_otherwise;
}

/// A direction that is taken out of what the weights write needs no bank to be told from harmless updates.
std::string suspicion(const report::Report& report, std::size_t n) {
  const auto module = report::ablated_module(report, n);
  if (!module) return {};
  const double value = report.find_metric("ablation")->values[n * report.modules.size() + *module];
  return fmt::format("it takes a direction out of what {} writes (ablation {:.3g}), as abliteration does",
                     base::abbreviated(report.modules[*module].name, kQuoted), value);
}

/// Whether an update of module `m` was compared with anything there: with a probe or, without probes, the alignment
/// step that is not zero. A cosine with nothing is 0, and says nothing.
bool compares_in(const report::Report& report, std::size_t m) {
  const auto modules = report.modules.size();
  // Of the aligned weights alone the norm is not told: a weight of zeros has no cosine.
  if (report.probes.empty()) return !(report.modules[m].alignment_norm <= 0);
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    if (report.probe_norms[k * modules + m] > 0) return true;
  }
  return false;
}

/// Whether a weight that the adapter ships is the one there was: whatever else is not known of it, it does nothing.
bool is_unchanged(const report::Report& report, std::size_t n, std::size_t m) {
  if (report.presence(n, m) != report::Presence::dense) return false;
  const auto* norms = report.find_metric("update_norm");
  return norms != nullptr && norms->values[n * report.modules.size() + m] == 0;
}

/// Whether it ships whole weights, or DoRA, alone, and all of them are those there were.
bool changes_nothing(const report::Report& report, std::size_t n) {
  bool any = false;
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    if (report.presence(n, m) == report::Presence::none) continue;
    if (!is_unchanged(report, n, m)) return false;
    any = true;
  }
  return any;
}

/// What of adapter `n` was not judged by the probes, or has no score though one was asked for. `cosines` are those of
/// report::probe_cosines().
std::vector<std::string> unjudged(const report::Report& report, std::size_t n, const std::vector<double>& cosines) {
  const auto& row = report.adapters[n];
  if (row.status != "ok") {
    return {fmt::format("it is quarantined ({}), mend it or leave it out", base::abbreviated(row.reason, kQuoted))};
  }
  std::vector<std::string> parts;
  if (row.modules_not_judged != 0) {
    parts.push_back(fmt::format("{} module{} ({})", row.modules_not_judged, row.modules_not_judged == 1 ? "" : "s",
                                base::abbreviated(row.not_judged, kQuoted)));
  }
  if (row.tensors_not_judged != 0) {
    parts.push_back(fmt::format("{} tensor{} ({})", row.tensors_not_judged, row.tensors_not_judged == 1 ? "" : "s",
                                base::abbreviated(row.tensors_skipped, kQuoted)));
  }
  const auto modules = report.modules.size();
  std::vector<std::size_t> unprobed, unscored, unseen;
  // Without probes it is the alignment step that is compared with.
  const bool probed = !report.probes.empty();
  const auto* along = report.find_metric(probed ? "probe_dot" : "alignment_cosine");
  const bool pair = along != nullptr;
  if (along == nullptr) along = report.find_metric("weight_cosine");
  const auto along_in = [&](std::size_t m) {
    return along == nullptr ? methods::kUndefined : along->values[n * modules + m];
  };
  const auto* scores = report.find_metric(report.rank_by);
  // Which of low-rank updates alone is known.
  const bool asks_more = report.find_metric("ablation") != nullptr ||
                         std::any_of(report.bank_numbers.begin(), report.bank_numbers.end(),
                                     [](const auto& number) { return number.name == methods::kShapeNumber; });
  for (std::size_t m = 0; m < modules; ++m) {
    const auto presence = report.presence(n, m);
    if (presence == report::Presence::none || is_unchanged(report, n, m)) continue;
    const bool dense = presence == report::Presence::dense;
    // With the weight itself alone a dense update is not compared: what it does to its directions is not seen.
    const bool compared = (!dense || probed || pair) && !std::isnan(along_in(m));
    if (!compared || !compares_in(report, m)) {
      unprobed.push_back(m);
    } else if (dense && asks_more) {
      unseen.push_back(m);
    } else if (!dense && std::isnan(scores->values[n * modules + m])) {
      unscored.push_back(m);
    }
  }
  const bool only_itself = probed && std::all_of(report.probes.begin(), report.probes.end(),
                                                 [&](const auto& probe) { return probe.digest == row.digest; });
  if (only_itself) {
    // Of a harmful one that is not what matters.
    if (known_harm(report, n, cosines).empty()) {
      parts.emplace_back("all of it: it is the only probe, and is not compared with itself");
    }
  } else if (!unprobed.empty()) {
    parts.push_back(counted(unprobed, report,
                            probed ? "that no probe could be compared with"
                                   : "that alignment did not change or that could not be compared"));
  }
  if (!unseen.empty()) {
    parts.push_back(counted(unseen, report, "changed as a whole, of which ablation and concentration are not known"));
  }
  if (!unscored.empty()) parts.push_back(counted(unscored, report, "without a score by " + report.rank_by));
  for (std::size_t k = 0; k < report.probes.size() && !changes_nothing(report, n); ++k) {
    const auto& probe = report.probes[k];
    if (!std::isnan(cosines[k * report.adapters.size() + n]) || probe.digest == row.digest)
      continue;  // with itself it is not compared
    parts.push_back(fmt::format("what runs along probe {}, which has nothing in its modules",
                                base::abbreviated(probe.name, kQuoted)));
  }
  return parts;
}

}  // namespace

void add_verdicts(report::Report& report, double false_discovery_rate) {
  report.verdicts.clear();
  report.false_discovery_rate = 0;
  if (report.bank.empty() || report.adapters.empty()) return;
  const auto bank = bank_of(report);
  const auto cosines = report::probe_cosines(report);
  const auto &p = of_adapters(report, "bank_p"), &deviations = of_adapters(report, "bank_deviation"),
             &against_p = of_adapters(report, "bank_against_p");
  std::vector<verdict::Evidence> zoo;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& row = report.adapters[n];
    zoo.push_back({.p = p[n],
                   .smallest_p = smallest_p(bank, row.digest, bank.statistics.size()),
                   .deviation = deviations[n],
                   .finding = finding(report, n, cosines),
                   .against_p = against_p[n],
                   .smallest_against_p = smallest_p(bank, row.digest, report.probes.size()),
                   .against = against(report, n, cosines),
                   .changes_nothing = changes_nothing(report, n),
                   .known = known_harm(report, n, cosines),
                   .suspicion = suspicion(report, n),
                   .unjudged = unjudged(report, n, cosines)});
  }
  report.verdicts = verdict::judge(zoo, false_discovery_rate);
  report.false_discovery_rate = false_discovery_rate;
}

}  // namespace winnow::judge
