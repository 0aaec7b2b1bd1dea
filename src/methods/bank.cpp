// How unusual an adapter is beside adapters of the same model that are known to be harmless.
//
// A cosine has no threshold of its own; a bank gives one, and an error rate with it. What is compared:
//
//     the pull of each probe               <dW, D>/(||D||*sqrt(||dW||)), upwards of a harmful one, downwards of a safe
//                                          one. Half a cosine and half a length: random factors stacked on an adapter
//                                          cost it nothing and make any cosine small (jobs/lab/README.md), while its
//                                          length along D alone is large by chance where it is large itself
//     log ||dW|| over all modules          upwards: a harmless direction times a thousand breaks a model, and no cosine
//                                          sees it. In factors of two at least: members that differ little in size are
//                                          not to outweigh cosines
//     the length of V along -dW, of a pair upwards: what takes the alignment step back. Not the cosine, of which chance
//                                          gives an adapter on few modules a large one
//     ablation, the length of W along -dW  upwards, of the aligned weights alone
//
// The other side of the pulls is a number of its own. Who runs against a probe was mostly trained to refuse more, and
// may have been trained to hide from it: counted with the rest such harmless ones would take the places of a bank's
// most unusual members, and hide most of what is harmful (jobs/lab/README.md).
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/metrics/alongside.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<AdapterColumn, 8> kAdapterColumns{{
    {.name = "bank_deviation",
     .long_name = "how many spreads (IQR/1.349) of the bank the most unusual statistic lies from its median",
     .of_bank = true},
    {.name = "bank_p",
     .long_name = "(1 + adapters of the bank at least as deviant)/(1 + adapters of the bank), itself left out",
     .of_bank = true},
    {.name = "bank_statistic",
     .long_name = "which statistic that is: pull of a probe of /probes, then log norm, then alignment_against, "
                  "ablation_max, weight_against, row_concentration_max: those that /bank has",
     .of_bank = true},
    {.name = "bank_value", .long_name = "the adapter's value of it", .of_bank = true},
    {.name = "bank_median", .long_name = "its median in the bank, itself left out", .of_bank = true},
    {.name = "bank_against",
     .long_name = "how many spreads of the bank the adapter runs against a probe, of that which it runs against most",
     .of_bank = true},
    {.name = "bank_against_p",
     .long_name = "(1 + adapters of the bank that run against a probe as far)/(1 + adapters of the bank), itself left "
                  "out",
     .of_bank = true},
    {.name = "bank_against_probe", .long_name = "which probe of /probes that is", .of_bank = true},
}};

/// The same statistics as zoo.bank has, in its order.
std::vector<std::vector<double>> statistics_of(const Zoo& zoo) {
  const auto modules = zoo.layout.modules, adapters = zoo.layout.adapters;
  const auto& norms = zoo.dataset("update_norm");
  std::vector<std::vector<double>> all;
  for (const auto& probe : zoo.probes) {
    const double unit = zoo.bank.statistics[all.size()].unit;
    auto& pulls = all.emplace_back();
    for (std::size_t n = 0; n < adapters; ++n) {
      pulls.push_back(metrics::alongside(std::span(probe.dots).subspan(n * modules, modules),
                                         std::span(norms).subspan(n * modules, modules), probe.norms)
                          .pull() /
                      unit);
    }
  }
  auto& sizes = all.emplace_back();
  for (std::size_t n = 0; n < adapters; ++n) {
    sizes.push_back(metrics::log_norm(std::span(norms).subspan(n * modules, modules)));
  }
  for (auto k = all.size(); k < zoo.bank.statistics.size(); ++k) {
    const auto* number = zoo.of_adapters ? zoo.of_adapters(zoo.bank.statistics[k].name) : nullptr;
    all.push_back(number != nullptr ? *number : std::vector<double>(adapters, kUndefined));
  }
  return all;
}

/// The pulls of a bank of `probes` probes, on the side that is no harm.
metrics::Bank other_side(const metrics::Bank& bank, std::size_t probes) {
  metrics::Bank other{bank.ids,
                      {bank.statistics.begin(), bank.statistics.begin() + static_cast<std::ptrdiff_t>(probes)}};
  for (auto& pulls : other.statistics) {
    pulls.tail = pulls.tail == metrics::Tail::upper ? metrics::Tail::lower : metrics::Tail::upper;
  }
  return other;
}

/// Its size or shape clears nobody: an update that shares no module with any probe was not compared.
bool is_of_update_alone(const Zoo& zoo, std::size_t statistic) {
  if (statistic == zoo.probes.size()) return true;
  return statistic > zoo.probes.size() && zoo.bank.statistics[statistic].name == kShapeNumber;
}

void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  if (zoo.bank.ids.empty()) return;
  const auto statistics = statistics_of(zoo);
  const auto calibrated = metrics::calibrate(statistics, zoo.ids, zoo.bank);
  for (std::size_t n = 0; n < calibrated.size(); ++n) {
    bool compared = false;
    for (std::size_t k = 0; k < statistics.size(); ++k) {
      compared |= !is_of_update_alone(zoo, k) && !std::isnan(statistics[k][n]);
    }
    if (!compared || std::isnan(calibrated[n].deviation)) continue;
    columns[0][n] = calibrated[n].deviation;
    columns[1][n] = calibrated[n].p;
    const auto statistic = calibrated[n].statistic;
    columns[2][n] = static_cast<double>(statistic);
    columns[3][n] = statistics[statistic][n];
    columns[4][n] = calibrated[n].median;
  }
  if (zoo.probes.empty()) return;
  const std::vector<std::vector<double>> pulls(statistics.begin(),
                                               statistics.begin() + static_cast<std::ptrdiff_t>(zoo.probes.size()));
  const auto against = metrics::calibrate(pulls, zoo.ids, other_side(zoo.bank, zoo.probes.size()));
  for (std::size_t n = 0; n < against.size(); ++n) {
    if (std::isnan(against[n].deviation)) continue;
    columns[5][n] = against[n].deviation;
    columns[6][n] = against[n].p;
    columns[7][n] = static_cast<double>(against[n].statistic);
  }
}

}  // namespace

constinit const Method kBank{.name = "bank",
                             .what = "how unusual an adapter is beside harmless ones: --bank",
                             .source = "ours; conformal p-values (Vovk et al.); jobs/lab/README.md",
                             .sums = kUpdateSums,
                             .adapter_columns = kAdapterColumns,
                             .of_adapters = adapters_of};

}  // namespace winnow::methods
