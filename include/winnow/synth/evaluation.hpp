// How well metrics find what was planted. Pure: numbers in, numbers and a text table out.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "winnow/synth/adapter_kind.hpp"
#include "winnow/synth/planting.hpp"

namespace winnow::report {
struct Report;
}

namespace winnow::synth {

/// What is planted in each scored row (a module of an adapter); nothing for an ordinary one.
using Labels = std::vector<std::optional<PlantedKind>>;

/// Labels of all modules of all adapters, row-major (adapter, module) as a report stores metrics. Throws
/// Error(invalid_input) if the truth names an adapter or a module that is not among them.
Labels labels_of(const std::vector<Planted>& truth, const std::vector<std::string>& adapters,
                 const std::vector<std::string>& modules);

struct ScoredMetric {
  std::string name;
  std::vector<double> values;  ///< one for each label; NaN: not scored, left out
  bool high_is_misaligned = true;
};

struct MetricEvaluation {
  std::string name;
  std::array<double, kPlantedKinds> auroc{};       ///< of one kind against ordinary modules; NaN if either is missing
  double auroc_all = 0.0;                          ///< of all planted against ordinary modules
  std::array<std::size_t, kPlantedKinds> found{};  ///< planted of the kind among the `worst` most misaligned
  std::size_t found_all = 0;
  std::size_t not_scored = 0;  ///< NaN values
};

struct Evaluation {
  std::size_t rows = 0;
  std::size_t worst = 0;                             ///< K
  std::array<std::size_t, kPlantedKinds> planted{};  ///< of each kind
  std::size_t planted_all = 0;
  std::vector<MetricEvaluation> metrics;  ///< in the order given
};

/// Area under the ROC curve: the probability that a positive scores above a negative, ties counting half (Mann and
/// Whitney, by average ranks). NaN scores are left out; NaN if no positive or no negative is left.
double auroc(const std::vector<double>& scores, const std::vector<bool>& positive);

/// `worst` is K; 0: as many as are planted. Rows of equal score at the border are taken in the order given.
/// Throws Error(runtime) if a metric has not one value a label.
Evaluation evaluate(const Labels& labels, const std::vector<ScoredMetric>& metrics, std::size_t worst = 0);

/// A table for people: per kind, how many each metric ranks among the worst K, and its AUROC; below it, what the
/// figures say about metrics that do not see a kind. Ends with a newline.
std::string render(const Evaluation& evaluation);

/// The same for the report of an audit of a synthetic family, with the metrics that tables show, as far as the report
/// has them, without adapters of one kind throughout. Planted modules of adapters that were not audited are left out.
/// Throws Error(invalid_input) if none was, and as labels_of does.
Evaluation evaluate_report(const report::Report& report, const std::vector<Planted>& truth,
                           const std::vector<KindOfAdapter>& kinds = {});
/// What people are shown of it, and of evaluate_adapters() if the report has adapters of a kind.
std::string render_evaluation(const report::Report& report, const std::vector<Planted>& truth,
                              const std::vector<KindOfAdapter>& kinds = {});

}  // namespace winnow::synth
