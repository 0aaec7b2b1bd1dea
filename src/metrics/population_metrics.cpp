#include "winnow/metrics/population_metrics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/metrics/quantile.hpp"

namespace winnow::metrics {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kFewestPeers = 4;
constexpr double kSpreadFloor = 1e-6;       // relative; see robust_scores
constexpr double kRoundingShare = 0.01;     // of a least spread
constexpr double kPublishedEpsilon = 1e-6;  // of the scripts published with SPLoRA

constexpr std::array<std::pair<std::string_view, Population>, 3> kPopulations{
    {{"role", Population::role}, {"adapter", Population::adapter}, {"zoo", Population::zoo}}};

using Indices = std::vector<std::size_t>;

/// Entries that are scored against the same peers. `peers` hold finite values only; `targets` may be infinite.
struct Group {
  Indices targets, peers;
};

void check_size(std::span<const double> values, const Layout& layout) {
  if (values.size() == layout.adapters * layout.modules && layout.roles.size() == layout.modules) return;
  throw base::Error(base::ErrorKind::runtime, "metrics and layout differ in size")
      .expected(std::to_string(layout.adapters) + " x " + std::to_string(layout.modules) + " values and " +
                std::to_string(layout.modules) + " roles, found " + std::to_string(values.size()) + " and " +
                std::to_string(layout.roles.size()));
}

void place(Group& group, std::span<const double> values, std::size_t index) {
  if (std::isnan(values[index])) return;
  group.targets.push_back(index);
  if (std::isfinite(values[index])) group.peers.push_back(index);
}

std::vector<Group> groups_of(std::span<const double> values, const Layout& layout, Population population) {
  check_size(values, layout);
  std::vector<Group> groups;
  if (population == Population::zoo) {
    groups.resize(layout.modules);
    for (std::size_t index = 0; index < values.size(); ++index) place(groups[index % layout.modules], values, index);
    return groups;
  }
  for (std::size_t adapter = 0; adapter < layout.adapters; ++adapter) {
    Group whole;
    std::map<std::string_view, Group> by_role;
    for (std::size_t module = 0; module < layout.modules; ++module) {
      const auto index = adapter * layout.modules + module;
      place(whole, values, index);
      place(by_role[layout.roles[module]], values, index);
    }
    if (population == Population::adapter) {
      groups.push_back(std::move(whole));
      continue;
    }
    for (auto& [role, group] : by_role) {
      if (group.peers.size() < kFewestPeers) group.peers = whole.peers;
      groups.push_back(std::move(group));
    }
  }
  return groups;
}

std::vector<double> pick(std::span<const double> values, const Indices& indices) {
  std::vector<double> picked;
  picked.reserve(indices.size());
  for (const auto index : indices) picked.push_back(values[index]);
  return picked;
}

double robust_score(double value, const Spread& peers) {
  if (std::isinf(value)) return value;
  if (!(peers.iqr() > kSpreadFloor * std::max(std::abs(peers.q25), std::abs(peers.q75)))) return 0;
  return (value - peers.median) / peers.iqr();
}

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double sample_variance(std::span<const double> values, double mean) {
  if (values.size() < 2) return 0;
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum / static_cast<double>(values.size() - 1);
}

// A term of misalignment; see the header.
double term_score(double value, const Spread& peers, double least_spread) {
  if (std::isinf(value)) return value;
  const double difference = value - peers.median;
  if (std::abs(difference) < kRoundingShare * least_spread) return 0;
  const double resolved = kSpreadFloor * std::max(std::abs(peers.q25), std::abs(peers.q75));
  return difference / std::max({least_spread, resolved, peers.iqr()});
}

std::vector<double> term_scores(std::span<const double> values, double least_spread, const Layout& layout,
                                Population population) {
  std::vector<double> scores(values.size(), kNaN);
  for (const auto& group : groups_of(values, layout, population)) {
    const auto peers = spread(pick(values, group.peers));
    for (const auto index : group.targets) scores[index] = term_score(values[index], peers, least_spread);
  }
  return scores;
}

}  // namespace

Population parse_population(std::string_view text) {
  for (const auto& [word, population] : kPopulations) {
    if (word == text) return population;
  }
  throw base::Error(base::ErrorKind::usage, "unknown population '" + std::string(text) + "'")
      .expected("role, adapter or zoo");
}

std::string_view name(Population population) {
  for (const auto& [word, value] : kPopulations) {
    if (value == population) return word;
  }
  return "unknown";
}

std::vector<double> robust_scores(std::span<const double> values, const Layout& layout, Population population) {
  std::vector<double> scores(values.size(), kNaN);
  for (const auto& group : groups_of(values, layout, population)) {
    const auto peers = spread(pick(values, group.peers));
    for (const auto index : group.targets) scores[index] = robust_score(values[index], peers);
  }
  return scores;
}

std::vector<double> ediem_published_iqr(std::span<const double> distance, std::span<const double> projected_q25,
                                        std::span<const double> update_q25, const Layout& layout) {
  check_size(projected_q25, layout);
  check_size(update_q25, layout);
  std::vector<double> scores(distance.size(), kNaN);
  for (const auto& group : groups_of(distance, layout, Population::adapter)) {
    const auto peers = pick(distance, group.peers);
    const double mean = mean_of(peers), iqr = spread(peers).iqr();
    for (const auto index : group.targets) {
      scores[index] = (distance[index] + kPublishedEpsilon - mean) / (iqr + kPublishedEpsilon) -
                      (projected_q25[index] - update_q25[index]);
    }
  }
  return scores;
}

std::vector<double> ediem_published_std(std::span<const double> distance, const Layout& layout) {
  std::vector<double> scores(distance.size(), kNaN);
  for (const auto& group : groups_of(distance, layout, Population::adapter)) {
    const auto peers = pick(distance, group.peers);
    const double mean = mean_of(peers);
    const double deviation = std::sqrt(sample_variance(peers, mean) + kPublishedEpsilon);
    for (const auto index : group.targets) scores[index] = (distance[index] - mean) / deviation;
  }
  return scores;
}

double diem_theoretical(double distance, std::uint64_t elements) {
  const double twice = 2.0 * static_cast<double>(elements);
  return (distance - std::sqrt(twice)) / std::sqrt(twice * (1 - std::numbers::inv_pi));
}

double diem(double distance, double minimum, double maximum, std::uint64_t elements) {
  const double range = maximum - minimum;
  if (range == 0) return 0;
  const double expected = range * std::sqrt(static_cast<double>(elements) / 6);
  const double variance = 7 * range * range / 120;
  return range / variance * (distance - expected);
}

Misalignment misalignment(std::span<const double> rms_distance, std::span<const double> subspace_energy,
                          std::span<const double> alignment_removed, const Layout& layout, Population population) {
  for (const auto values : {rms_distance, subspace_energy, alignment_removed}) check_size(values, layout);
  const auto nothing = [](double value) { return value == 0 || std::isnan(value); };
  std::vector<double> magnitude(rms_distance.size(), kNaN), direction = magnitude, removed = magnitude;
  for (std::size_t i = 0; i < rms_distance.size(); ++i) {
    if (std::isnan(rms_distance[i])) continue;
    if (nothing(rms_distance[i]) && nothing(subspace_energy[i]) && nothing(alignment_removed[i])) continue;  // dW = 0
    if (rms_distance[i] > 0) magnitude[i] = std::log(rms_distance[i]);
    if (!std::isnan(subspace_energy[i])) direction[i] = -std::log(std::max(subspace_energy[i], kLeastEnergy));
    removed[i] = alignment_removed[i];
  }
  const std::array<std::vector<double>, 3> terms{term_scores(magnitude, kLeastMagnitude, layout, population),
                                                 term_scores(direction, kLeastDirection, layout, population),
                                                 term_scores(removed, kLeastSign, layout, population)};
  constexpr std::array kCauses{Cause::magnitude, Cause::direction, Cause::sign};

  Misalignment result{std::vector<double>(rms_distance.size(), kNaN),
                      std::vector<Cause>(rms_distance.size(), Cause::none)};
  for (std::size_t i = 0; i < rms_distance.size(); ++i) {
    for (std::size_t term = 0; term < terms.size(); ++term) {
      const double score = terms[term][i];
      if (std::isnan(score) || score <= result.score[i]) continue;  // a tie keeps the first; NaN compares as false
      result.score[i] = score;
      result.cause[i] = score > 0 ? kCauses[term] : Cause::none;
    }
  }
  return result;
}

}  // namespace winnow::metrics
