#include "where.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "numbers.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kRolesTold = 4;

/// Sums of a value over modules, weighted by their energy, where both are known.
struct Mean {
  double sum = 0, weight = 0;
  void add(double value, double energy) {
    if (std::isnan(value) || std::isnan(energy)) return;
    sum += value * energy;
    weight += energy;
  }
  double value() const { return weight > 0 ? sum / weight : std::numeric_limits<double>::quiet_NaN(); }
};

/// Thirds of the layers that the report has, by layer. A layer of an encoder and one of a decoder may have one number.
std::map<std::int64_t, std::size_t> thirds_of(const Report& report) {
  std::set<std::int64_t> layers;
  for (const auto& row : report.modules) {
    if (row.layer >= 0) layers.insert(row.layer);
  }
  std::map<std::int64_t, std::size_t> thirds;
  if (layers.size() < 3) return thirds;
  std::size_t k = 0;
  for (const auto layer : layers) thirds.emplace(layer, 3 * k++ / layers.size());
  return thirds;
}

std::string layers_text(const std::map<std::int64_t, std::size_t>& thirds, std::size_t third) {
  std::int64_t first = -1, last = -1;
  for (const auto& [layer, of] : thirds) {
    if (of != third) continue;
    if (first < 0) first = layer;
    last = layer;
  }
  return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
}

}  // namespace

std::optional<Where> where_of(const Analysis& analysis, const AdapterView& adapter) {
  const auto& report = analysis.report();
  const auto *dots = report.find_metric("probe_dot"), *norms = report.find_metric("update_norm");
  const auto *stable = report.find_metric("stable_rank"), *overlaps = report.find_metric("overlap_left");
  const auto effect_of = [&](std::size_t m) {
    const double dot = analysis.value(dots, adapter.index, m);
    return std::isfinite(dot) && dot > 0 ? dot : 0.0;
  };
  // Of any size, so against the largest: a square, or a sum, may have no place in a double.
  double largest = 0, largest_norm = 0;
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    largest = std::max(largest, effect_of(m));
    const double norm = analysis.value(norms, adapter.index, m);
    if (std::isfinite(norm)) largest_norm = std::max(largest_norm, norm);
  }
  if (largest == 0) return std::nullopt;

  Where where;
  const auto thirds = thirds_of(report);
  std::map<std::string, double> roles;
  std::vector<double> depth(thirds.empty() ? 0 : 3);
  double all = 0;
  Mean first_direction, overlap;
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    const auto& row = report.modules[m];
    const double effect = effect_of(m) / largest;
    all += effect;
    if (effect > 0) roles[row.role] += effect;
    if (const auto third = thirds.find(row.layer); third != thirds.end()) depth[third->second] += effect;
    const double norm = largest_norm > 0 ? analysis.value(norms, adapter.index, m) / largest_norm : 0;
    first_direction.add(1 / analysis.value(stable, adapter.index, m), norm * norm);
    overlap.add(analysis.value(overlaps, adapter.index, m), norm * norm);
  }
  for (const auto& [role, effect] : roles) where.roles.push_back({role, effect / all});
  std::stable_sort(where.roles.begin(), where.roles.end(),
                   [](const Part& a, const Part& b) { return a.share > b.share; });
  for (std::size_t third = 0; third < depth.size(); ++third) {
    where.depth.push_back({layers_text(thirds, third), depth[third] / all});
  }
  where.first_direction = first_direction.value();
  where.overlap = overlap.value();
  return where;
}

std::string where_text(const Where& where) {
  std::string text = "what runs along the probes lies in ";
  for (const auto& [layers, share] : where.depth) {
    const bool one = layers.find('-') == std::string::npos;
    text += fmt::format("{} {} ({}), ", one ? "layer" : "layers", layers, percent_text(share));
  }
  for (std::size_t k = 0; k < std::min(kRolesTold, where.roles.size()); ++k) {
    text += fmt::format("{}{} ({})", k == 0 ? "" : ", ", where.roles[k].name, percent_text(where.roles[k].share));
  }
  if (where.roles.size() > kRolesTold) text += fmt::format(" and {} more roles", where.roles.size() - kRolesTold);
  if (!std::isnan(where.first_direction)) {
    text += fmt::format("; the first singular direction of each module holds {} of the update",
                        percent_text(where.first_direction));
  }
  if (!std::isnan(where.overlap)) text += fmt::format("; overlap with the weights {}", share_text(where.overlap));
  return text;
}

}  // namespace winnow::report
