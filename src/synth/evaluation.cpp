#include "winnow/synth/evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "winnow/base/error.hpp"

namespace winnow::synth {
namespace {

/// Scores of rows that are scored, high = misaligned, and their row numbers.
struct Scores {
  std::vector<double> values;
  std::vector<std::size_t> rows;
};

Scores scored_rows(const ScoredMetric& metric) {
  Scores scores;
  for (std::size_t row = 0; row < metric.values.size(); ++row) {
    if (std::isnan(metric.values[row])) continue;
    scores.values.push_back(metric.high_is_misaligned ? metric.values[row] : -metric.values[row]);
    scores.rows.push_back(row);
  }
  return scores;
}

/// AUROC of the rows that `is_positive` accepts against the ordinary ones.
template <class Accept>
double auroc_against_ordinary(const Scores& scores, const Labels& labels, const Accept& is_positive) {
  std::vector<double> values;
  std::vector<bool> positive;
  for (std::size_t at = 0; at < scores.rows.size(); ++at) {
    const auto& label = labels[scores.rows[at]];
    if (label && !is_positive(*label)) continue;
    values.push_back(scores.values[at]);
    positive.push_back(label.has_value());
  }
  return auroc(values, positive);
}

MetricEvaluation evaluate_metric(const Labels& labels, const ScoredMetric& metric, std::size_t worst) {
  MetricEvaluation result;
  result.name = metric.name;
  const auto scores = scored_rows(metric);
  result.not_scored = labels.size() - scores.rows.size();
  result.auroc_all = auroc_against_ordinary(scores, labels, [](PlantedKind) { return true; });
  for (std::size_t kind = 0; kind < kPlantedKinds; ++kind) {
    result.auroc[kind] = auroc_against_ordinary(
        scores, labels, [kind](PlantedKind label) { return static_cast<std::size_t>(label) == kind; });
  }
  std::vector<std::size_t> order(scores.rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores.values[a] > scores.values[b]; });
  order.resize(std::min(worst, order.size()));
  for (const auto at : order) {
    if (const auto& label = labels[scores.rows[at]]) {
      ++result.found[static_cast<std::size_t>(*label)];
      ++result.found_all;
    }
  }
  return result;
}

}  // namespace

Labels labels_of(const std::vector<Planted>& truth, const std::vector<std::string>& adapters,
                 const std::vector<std::string>& modules) {
  const auto numbered = [](const std::vector<std::string>& names) {
    std::map<std::string, std::size_t> numbers;
    for (std::size_t n = 0; n < names.size(); ++n) numbers.emplace(names[n], n);
    return numbers;
  };
  const auto adapter_numbers = numbered(adapters), module_numbers = numbered(modules);
  Labels labels(adapters.size() * modules.size());
  for (const auto& one : truth) {
    const auto adapter = adapter_numbers.find(one.adapter);
    const auto module = module_numbers.find(one.module);
    if (adapter == adapter_numbers.end() || module == module_numbers.end()) {
      throw base::Error(base::ErrorKind::invalid_input,
                        "the truth is about other data: nothing scored is called " + one.adapter + ", " + one.module);
    }
    labels[adapter->second * modules.size() + module->second] = one.kind;
  }
  return labels;
}

double auroc(const std::vector<double>& scores, const std::vector<bool>& positive) {
  std::vector<std::size_t> order;
  for (std::size_t row = 0; row < scores.size(); ++row) {
    if (!std::isnan(scores[row])) order.push_back(row);
  }
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double positives = 0.0, rank_sum = 0.0;
  for (std::size_t first = 0; first < order.size();) {
    auto end = first;
    while (end < order.size() && scores[order[end]] == scores[order[first]]) ++end;
    const double average_rank = (static_cast<double>(first + 1) + static_cast<double>(end)) / 2.0;
    for (; first < end; ++first) {
      if (!positive[order[first]]) continue;
      positives += 1.0;
      rank_sum += average_rank;
    }
  }
  const double negatives = static_cast<double>(order.size()) - positives;
  if (positives == 0.0 || negatives == 0.0) return std::numeric_limits<double>::quiet_NaN();
  return (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives);
}

Evaluation evaluate(const Labels& labels, const std::vector<ScoredMetric>& metrics, std::size_t worst) {
  Evaluation evaluation;
  evaluation.rows = labels.size();
  for (const auto& label : labels) {
    if (!label) continue;
    ++evaluation.planted[static_cast<std::size_t>(*label)];
    ++evaluation.planted_all;
  }
  evaluation.worst = worst == 0 ? evaluation.planted_all : worst;
  for (const auto& metric : metrics) {
    if (metric.values.size() != labels.size()) {
      throw base::Error(base::ErrorKind::runtime, fmt::format("metric {} has {} values for {} labelled modules",
                                                              metric.name, metric.values.size(), labels.size()));
    }
    evaluation.metrics.push_back(evaluate_metric(labels, metric, evaluation.worst));
  }
  return evaluation;
}

}  // namespace winnow::synth
