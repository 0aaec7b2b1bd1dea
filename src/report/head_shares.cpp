#include "head_shares.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>

#include "numbers.hpp"
#include "winnow/metrics/alongside.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kHeadsTold = 3, kHeadlessTold = 5;

/// Length of a probe over the modules that it shares with an adapter.
double shared_length(const Report& report, std::size_t k, std::size_t n) {
  const auto modules = report.modules.size();
  const auto* norms = report.find_metric("update_norm");
  if (norms == nullptr) return std::numeric_limits<double>::quiet_NaN();
  return metrics::alongside(std::span(report.probe_dots).subspan((k * report.adapters.size() + n) * modules, modules),
                            std::span(norms->values).subspan(n * modules, modules),
                            std::span(report.probe_norms).subspan(k * modules, modules))
      .other;
}

/// A probe's products with the heads of one adapter, and what each is worth.
struct Along {
  std::span<const double> dots;
  double factor = 0;
  bool is_direction = false;
};

std::vector<Along> probes_of(const Report& report, std::size_t n) {
  const auto& heads = *report.heads;
  const auto cells = heads.attention.size() * heads.query;
  std::vector<Along> all;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const auto dots = std::span(heads.dots).subspan((k * report.adapters.size() + n) * cells, cells);
    const double length = shared_length(report, k, n);
    if (!(length > 0) || std::all_of(dots.begin(), dots.end(), [](double dot) { return std::isnan(dot); })) continue;
    all.push_back({dots, (report.probes[k].effect == "safe" ? -1 : 1) / length, report.probes[k].form == "direction"});
  }
  const auto is_direction = [](const Along& probe) { return probe.is_direction; };
  if (std::any_of(all.begin(), all.end(), is_direction)) std::erase_if(all, std::not_fn(is_direction));
  return all;
}

}  // namespace

std::optional<HeadShares> head_shares(const Report& report, const AdapterView& adapter) {
  if (!report.heads) return std::nullopt;
  const auto probes = probes_of(report, adapter.index);
  if (probes.empty()) return std::nullopt;
  const auto& heads = *report.heads;
  HeadShares shares;
  shares.of_directions = probes.front().is_direction;
  double largest = 0;
  for (std::size_t cell = 0; cell < heads.attention.size() * heads.query; ++cell) {
    double sum = 0;
    int known = 0;
    for (const auto& probe : probes) {
      if (std::isnan(probe.dots[cell])) continue;
      sum += probe.dots[cell] * probe.factor;
      ++known;
    }
    shares.values.push_back(known == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / known);
    if (std::isfinite(shares.values.back())) largest = std::max(largest, shares.values.back());
  }
  if (largest == 0) return std::nullopt;
  double all = 0;  // against the largest: a sum may have no place in a double
  for (auto& value : shares.values) {
    value = std::isfinite(value) ? value / largest : std::numeric_limits<double>::quiet_NaN();
    if (value > 0) all += value;
  }
  for (std::size_t cell = 0; cell < shares.values.size(); ++cell) {
    const double value = shares.values[cell];
    if (value > 0) shares.largest.push_back({cell / heads.query, cell % heads.query, value / all});
  }
  std::stable_sort(shares.largest.begin(), shares.largest.end(),
                   [](const HeadShare& a, const HeadShare& b) { return a.share > b.share; });
  return shares;
}

std::string head_name(const Heads& heads, const HeadShare& head) {
  const auto& row = heads.attention.at(head.attention);
  const auto of_layer = std::count_if(heads.attention.begin(), heads.attention.end(),
                                      [&](const AttentionRow& other) { return other.layer == row.layer; });
  return row.layer >= 0 && of_layer == 1 ? fmt::format("layer {} head {}", row.layer, head.head)
                                         : fmt::format("{} head {}", row.name, head.head);
}

std::string heads_text(const Heads& heads, const HeadShares& shares) {
  auto text =
      fmt::format("what attention heads do along the {} lies in ", shares.of_directions ? "directions" : "probes");
  for (std::size_t k = 0; k < std::min(kHeadsTold, shares.largest.size()); ++k) {
    text += fmt::format("{}{} ({})", k == 0 ? "" : ", ", head_name(heads, shares.largest[k]),
                        percent_text(shares.largest[k].share));
  }
  std::size_t half = 0;
  for (double sum = 0; half < shares.largest.size() && sum < 0.5; ++half) sum += shares.largest[half].share;
  const auto known = std::count_if(shares.values.begin(), shares.values.end(), [](double v) { return !std::isnan(v); });
  return text + fmt::format("; {} of {} heads hold{} half of it", half, known, half == 1 ? "s" : "");
}

std::string headless_text(const Report& report) {
  if (!report.heads || report.heads->headless.empty()) return {};
  const auto& headless = report.heads->headless;
  auto text = fmt::format("Modules of attention that are in no head ({}): ", headless.size());
  for (std::size_t k = 0; k < std::min(kHeadlessTold, headless.size()); ++k) {
    text += fmt::format("{}{} {}", k == 0 ? "" : "; ", headless[k].module, headless[k].reason);
  }
  if (headless.size() > kHeadlessTold) text += fmt::format("; and {} more", headless.size() - kHeadlessTold);
  return text;
}

}  // namespace winnow::report
