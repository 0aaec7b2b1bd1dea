#include "winnow/methods/table.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <utility>

#include "methods.hpp"
#include "winnow/base/error.hpp"

namespace winnow::methods {
namespace {

/// A dataset is made before those that read it, and reports list datasets in this order.
constexpr auto kTable = std::to_array<const Method*>({
    &kUpdateNorm,
    &kSpectral,
    &kConcentration,
    &kAblation,
    &kWeightCosine,
    &kOverlap,
    &kRelativeNorm,
    &kOverlapRight,
    &kIntruders,
    &kProbe,
    &kSafeLora,
    &kAlignment,
    &kSubspaceEnergy,
    &kInputEnergy,
    &kSubspaceRemoved,
    &kLox,
    &kPassDiscrepancy,
    &kEntries,
    &kEdiem,
    &kMisalignment,
    &kEdiemPublishedStd,
    &kDiemTheoretical,
    &kEdiemPublishedIqr,
    &kDiem,
    &kBank,
});

/// What stands beside the dataset that ranks, as a reader compares them.
constexpr std::array<std::string_view, 9> kShown{"probe_dot", "probe_cosine",      "ablation",
                                                 "ediem",     "misalignment",      "misalignment_cause",
                                                 "cosine",    "alignment_removed", "subspace_energy"};

constexpr std::size_t kNearestNamed = 3;

struct Set {
  std::string_view name;
  std::uint32_t sums;
};

constexpr std::array<Set, 2> kSets{{{"default", kDefaultSums}, {"all", kAllSums}}};

/// Levenshtein's distance: the fewest insertions, deletions and replacements.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto replaced = diagonal + (a[i] == b[j] ? std::size_t{0} : std::size_t{1});
      diagonal = std::exchange(row[j + 1], std::min({row[j + 1] + 1, row[j] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

std::span<const Method* const> all() { return kTable; }

const Method* method_of(std::string_view dataset) {
  for (const auto* method : kTable) {
    for (const auto& column : method->columns) {
      if (column.name == dataset) return method;
    }
  }
  return nullptr;
}

const Column* find_column(std::string_view dataset) {
  const auto* method = method_of(dataset);
  if (method == nullptr) return nullptr;
  return &*std::find_if(method->columns.begin(), method->columns.end(),
                        [&](const Column& column) { return column.name == dataset; });
}

bool is_over_population(std::string_view dataset) {
  const auto* method = method_of(dataset);
  return method != nullptr && method->over_zoo != nullptr;
}

bool is_comparable(std::string_view dataset, metrics::Population population) {
  const auto* column = find_column(dataset);
  if (column == nullptr || column->peers == Peers::adapter) return false;
  return column->peers == Peers::none || population == metrics::Population::zoo;
}

void require_comparable(std::string_view dataset, metrics::Population population,
                        std::span<const std::string_view> others) {
  if (is_comparable(dataset, population)) return;
  std::vector<std::string_view> known;
  std::copy_if(others.begin(), others.end(), std::back_inserter(known),
               [&](std::string_view other) { return is_comparable(other, population); });
  const auto* column = find_column(dataset);
  const bool by_population = column != nullptr && column->peers == Peers::population;
  throw base::Error(base::ErrorKind::usage,
                    fmt::format("--scope zoo cannot select by {}: it tells how a layer stands beside others of its "
                                "adapter, so values of two adapters cannot be compared",
                                dataset))
      .expected(
          fmt::format("--rank-by one of {}{}", fmt::join(known, ", "),
                      by_population ? "; or an audit with --population zoo, whose peers are in all adapters" : ""));
}

Sense sense_of(std::string_view dataset) {
  const auto* column = find_column(dataset);
  return column == nullptr ? Sense::high_is_worse : column->sense;
}

std::string title_of(std::string_view dataset) {
  if (const auto* column = find_column(dataset)) return std::string(column->title);
  std::string words(dataset);
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

std::vector<const Column*> shown_columns() {
  std::vector<const Column*> columns;
  for (const auto name : kShown) columns.push_back(find_column(name));
  return columns;
}

std::vector<const Method*> chosen(std::uint32_t sums) {
  std::vector<const Method*> methods;
  std::copy_if(kTable.begin(), kTable.end(), std::back_inserter(methods),
               [&](const Method* method) { return (method->sums & ~sums) == 0; });
  return methods;
}

std::vector<const AdapterColumn*> adapter_columns(std::span<const Method* const> methods) {
  std::vector<const AdapterColumn*> columns;
  for (const auto* method : methods) {
    for (const auto& column : method->adapter_columns) columns.push_back(&column);
  }
  return columns;
}

std::string_view default_ranking(std::uint32_t sums) {
  if ((sums & kProbeSums) != 0) return kProbeRanking;
  return (sums & kProjectionSums) != 0 ? kDefaultRanking : kWeightRanking;
}

std::vector<const Column*> layer_columns(std::span<const Method* const> methods) {
  std::vector<const Column*> columns;
  for (const auto* method : methods) {
    if (method->of_layer == nullptr) continue;
    for (const auto& column : method->columns) columns.push_back(&column);
  }
  return columns;
}

namespace {

/// `make` fills in the values of one method.
template <class Make>
std::vector<double> values_of(std::span<const Method* const> methods, const Make& make) {
  std::vector<double> values(layer_columns(methods).size(), kUndefined);
  std::size_t first = 0;
  for (const auto* method : methods) {
    if (method->of_layer == nullptr) continue;
    make(*method, std::span(values).subspan(first, method->columns.size()));
    first += method->columns.size();
  }
  return values;
}

}  // namespace

std::vector<double> layer_values(std::span<const Method* const> methods, const Layer& layer) {
  return values_of(methods, [&](const Method& method, std::span<double> values) { method.of_layer(layer, values); });
}

std::vector<double> dense_values(std::span<const Method* const> methods, const DenseLayer& layer) {
  return values_of(methods, [&](const Method& method, std::span<double> values) {
    if (method.of_dense != nullptr) method.of_dense(layer, values);
  });
}

std::vector<std::string_view> set_names() {
  std::vector<std::string_view> names;
  for (const auto& set : kSets) names.push_back(set.name);
  return names;
}

std::uint32_t parse_sums(std::string_view list) {
  std::uint32_t sums = kUpdateSums;
  std::vector<std::string_view> known = set_names();
  for (const auto* method : kTable) known.push_back(method->name);
  for (std::size_t begin = 0; begin <= list.size();) {
    const auto end = std::min(list.find(',', begin), list.size());
    const auto name = list.substr(begin, end - begin);
    begin = end + 1;
    const auto set = std::find_if(kSets.begin(), kSets.end(), [&](const Set& one) { return one.name == name; });
    const auto method =
        std::find_if(kTable.begin(), kTable.end(), [&](const Method* one) { return one->name == name; });
    if (set != kSets.end()) {
      sums |= set->sums;
    } else if (method != kTable.end()) {
      sums |= (*method)->sums;
    } else if (name.empty()) {
      throw base::Error(base::ErrorKind::usage, "an empty name in --methods").expected("names separated by commas");
    } else {
      const auto guess = nearest(name, known);
      throw base::Error(base::ErrorKind::usage, fmt::format("unknown method {} in --methods", name))
          .expected(fmt::format("{}, or a method", fmt::join(set_names(), ", ")))
          .advice(guess.empty() ? "see winnow methods" : guess);
    }
  }
  return sums;
}

std::vector<std::string_view> rankable(std::uint32_t sums) {
  std::vector<std::string_view> names;
  for (const auto* method : chosen(sums)) {
    for (const auto& column : method->columns) {
      if (column.sense != Sense::none) names.push_back(column.name);
    }
  }
  return names;
}

std::string nearest(std::string_view unknown, std::span<const std::string_view> known) {
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const auto name : known) {
    const bool part = unknown.size() >= 3 && name.find(unknown) != std::string_view::npos;
    const auto edits = edit_distance(unknown, name);
    const auto distance = part ? std::min<std::size_t>(edits, 2) : edits;
    if (distance <= std::max<std::size_t>(2, name.size() / 3)) near.emplace_back(distance, name);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  near.resize(std::min(near.size(), kNearestNamed));
  std::string text;
  for (std::size_t i = 0; i < near.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "did you mean " : i + 1 == near.size() ? " or " : ", ", near[i].second);
  }
  return text.empty() ? text : text + "?";
}

}  // namespace winnow::methods
