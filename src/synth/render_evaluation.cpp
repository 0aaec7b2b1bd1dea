#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "winnow/synth/evaluation.hpp"

namespace winnow::synth {
namespace {

constexpr double kSeen = 0.9;  // AUROC from which a metric may be said to see a kind; 0.5 is guessing

std::string figure(double value) { return std::isnan(value) ? "-" : fmt::format("{:.2f}", value); }

/// "off-subspace" or "off-subspace, oversized and undoing": the kinds that are there and satisfy the condition.
template <class Condition>
std::string kinds_where(const Evaluation& evaluation, const Condition& condition) {
  std::vector<std::string_view> kinds;
  for (std::size_t kind = 0; kind < kPlantedKinds; ++kind) {
    if (evaluation.planted[kind] != 0 && condition(kind)) kinds.push_back(name(static_cast<PlantedKind>(kind)));
  }
  std::string list;
  for (std::size_t k = 0; k < kinds.size(); ++k) {
    list += fmt::format("{}{}", k == 0 ? "" : k + 1 == kinds.size() ? " and " : ", ", kinds[k]);
  }
  return list;
}

}  // namespace

std::string render(const Evaluation& evaluation) {
  std::size_t width = 6;
  for (const auto& metric : evaluation.metrics) width = std::max(width, metric.name.size());

  std::string text =
      fmt::format("{} modules, {} of them planted. Planted modules among the worst {} by each metric, and AUROC:\n\n",
                  evaluation.rows, evaluation.planted_all, evaluation.worst);
  text += fmt::format("  {:<{}}", "metric", width);
  for (std::size_t kind = 0; kind < kPlantedKinds; ++kind) {
    text += fmt::format("  {:>14}", name(static_cast<PlantedKind>(kind)));
  }
  text += fmt::format("  {:>14}\n", "all planted");
  for (const auto& metric : evaluation.metrics) {
    text += fmt::format("  {:<{}}", metric.name, width);
    for (std::size_t kind = 0; kind < kPlantedKinds; ++kind) {
      text += fmt::format("  {:>14}", fmt::format("{}/{}  {:>4}", metric.found[kind], evaluation.planted[kind],
                                                  figure(metric.auroc[kind])));
    }
    text += fmt::format(
        "  {:>14}\n", fmt::format("{}/{}  {:>4}", metric.found_all, evaluation.planted_all, figure(metric.auroc_all)));
  }
  text += "\n";
  for (const auto& metric : evaluation.metrics) {
    const auto missed = kinds_where(evaluation, [&](std::size_t kind) { return metric.auroc[kind] < kSeen; });
    const auto praised = kinds_where(evaluation, [&](std::size_t kind) { return metric.auroc[kind] < 1.0 - kSeen; });
    if (!missed.empty()) text += fmt::format("  {} does not see {}", metric.name, missed);
    if (!praised.empty()) text += fmt::format("; it takes {} for the best aligned", praised);
    if (!missed.empty()) text += ".\n";
    if (metric.not_scored != 0) {
      text += fmt::format("  {} has no value for {} modules; they are left out.\n", metric.name, metric.not_scored);
    }
  }
  return text;
}

}  // namespace winnow::synth
