// How well the numbers of whole adapters, and verdicts, tell kinds of adapters from ordinary ones.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "winnow/synth/adapter_kind.hpp"
#include "winnow/synth/planting.hpp"

namespace winnow::report {
struct Report;
}

namespace winnow::synth {

struct StatisticEvaluation {
  std::string name;
  std::array<double, kAdapterKinds> auroc{};  ///< against ordinary adapters; NaN if either is missing
};

struct AdapterEvaluation {
  std::size_t ordinary = 0;                           ///< without a planted module
  std::array<std::size_t, kAdapterKinds> adapters{};  ///< of each kind
  /// Of each dataset of layers that has a worse end, the worst module; then numbers of adapters.
  std::vector<StatisticEvaluation> statistics;
  bool has_verdicts = false;
  std::size_t ordinary_held = 0;                  ///< not passed: for review, blocked or incomplete
  std::array<std::size_t, kAdapterKinds> held{};  ///< likewise of each kind
};

/// Of the report of an audit of a synthetic family; what it has of `kinds`. Adapters with modules that `planted` names
/// are neither ordinary nor of a kind.
AdapterEvaluation evaluate_adapters(const report::Report& report, const std::vector<Planted>& planted,
                                    const std::vector<KindOfAdapter>& kinds);

/// A table for people. Ends with a newline.
std::string render(const AdapterEvaluation& evaluation);

}  // namespace winnow::synth
