// All methods, in the order in which their datasets are made: one that reads a dataset comes after the one that makes
// it.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/methods/method.hpp"

namespace winnow::methods {

/// What a run sums up if no methods are named, and what `all` names.
inline constexpr std::uint32_t kDefaultSums = kPairSums | kSubspaceSums;
inline constexpr std::uint32_t kAllSums = kDefaultSums | kEntrySums | kWeightSums | kMoreWeightSums | kSpreadSums;

/// The metrics that rank if none is named: the second if there are probes, the third of one checkpoint alone.
inline constexpr std::string_view kDefaultRanking = "ediem", kProbeRanking = "probe_dot", kWeightRanking = "ablation";
std::string_view default_ranking(std::uint32_t sums);

std::span<const Method* const> all();

/// nullptr for a dataset that no method makes, such as one of another version's report.
const Column* find_column(std::string_view dataset);
const Method* method_of(std::string_view dataset);

/// Whether a dataset is made from those of other layers, not by one layer alone. False for an unknown one.
bool is_over_population(std::string_view dataset);

/// Whether values of different adapters can be compared, if layers have these peers. False for an unknown dataset.
bool is_comparable(std::string_view dataset, metrics::Population population);

/// Throws Error(usage) if --scope zoo cannot select by `dataset`, with those of `others` by which it can.
void require_comparable(std::string_view dataset, metrics::Population population,
                        std::span<const std::string_view> others);

/// high_is_worse for a dataset that is not known: most are.
Sense sense_of(std::string_view dataset);

/// Title for people of a dataset; its name in words if it is not known.
std::string title_of(std::string_view dataset);

/// Datasets that tables show beside the one that ranks, in their order.
std::vector<const Column*> shown_columns();

/// Sets that `--methods` knows beside single methods.
std::vector<std::string_view> set_names();

/// The sums of a list such as "default,ablation": of sets and methods. Throws Error(usage) for an unknown name.
std::uint32_t parse_sums(std::string_view list);

/// Names that may rank layers, given the sums that a run has.
std::vector<std::string_view> rankable(std::uint32_t sums);

/// The methods of a run that has these sums.
std::vector<const Method*> chosen(std::uint32_t sums);

/// The numbers that rank adapters with a bank, and with probes alone; otherwise the worst of their modules does.
inline constexpr std::string_view kBankRanking = "bank_deviation", kProbeAdapterRanking = "probe_pull";
/// What people see beside the latter, and what ranks in a report that has none: of an earlier version.
inline constexpr std::string_view kProbeAdapterAngle = "probe_cosine";

/// From here on `ablation` is that of a direction taken out of what the weights write. On three models of the
/// laboratory ablations have 0.99 and more, harmless adapters 0.81 at most.
inline constexpr double kAblated = 0.9;

/// What says of an adapter how far it takes the alignment step or the weights back: a length, which does not depend on
/// how many modules it has, and the angle that people are shown.
struct Opposition {
  std::string_view length, angle;
};
inline constexpr Opposition kStepOpposition{"alignment_against", "alignment_opposition"};
inline constexpr Opposition kWeightOpposition{"weight_against", "weight_opposition"};

/// Numbers of single adapters, high is worse, that a bank compares beside pulls of probes and sizes.
inline constexpr std::array<std::string_view, 4> kBankNumbers{kStepOpposition.length, "ablation_max",
                                                              kWeightOpposition.length, "row_concentration_max"};
/// That of them which says nothing of where an update points: it clears nobody.
inline constexpr std::string_view kShapeNumber = "row_concentration_max";

/// Numbers of single adapters that these methods make, in order.
std::vector<const AdapterColumn*> adapter_columns(std::span<const Method* const> methods);

/// Datasets of single layers that these methods make, in order; and their values for one layer, NaN if undefined.
std::vector<const Column*> layer_columns(std::span<const Method* const> methods);
std::vector<double> layer_values(std::span<const Method* const> methods, const Layer& layer);
/// The same datasets of an update that is dense, of which most are undefined.
std::vector<double> dense_values(std::span<const Method* const> methods, const DenseLayer& layer);

/// "did you mean cosine or ediem?": the nearest of `known`, by edit distance; empty if none is near.
std::string nearest(std::string_view unknown, std::span<const std::string_view> known);

}  // namespace winnow::methods
