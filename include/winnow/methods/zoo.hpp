// All layers of all adapters as a method over a population sees them: datasets that other methods have made.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/metrics/calibration.hpp"
#include "winnow/metrics/population_metrics.hpp"

namespace winnow::methods {

/// What is known of one probe: an update, or a direction of the weights, of which the effect is known.
struct ProbeProducts {
  double sign = 1;            ///< 1 if an update along it is worse, -1 if better
  std::vector<double> norms;  ///< [modules]: ||D||, NaN if the probe has nothing
  std::vector<double> dots;   ///< [cells]: <D, dW>, NaN if it is not known
  std::vector<double>
      blocks;  ///< [cells]: ||U_k^T*dW*V_k||, U_k and V_k of D; NaN likewise, and of a direction; or empty
};

/// N adapters x M modules; every dataset is adapter-major, NaN if an adapter has no LoRA or a value is undefined.
struct Zoo {
  metrics::Layout layout;
  metrics::Population population = metrics::Population::role;
  std::vector<std::uint64_t> elements;  ///< [modules]: out_features * in_features
  std::vector<double> alignment_norms;  ///< [modules]: ||V||, NaN if unknown
  std::vector<ProbeProducts> probes;    ///< none without --direction and --probe
  std::vector<std::string> ids;         ///< [adapters]: by content
  metrics::Bank bank;                   ///< harmless adapters, with the statistics of bank.cpp; none without --bank
  /// A dataset made before. Throws Error(runtime) for one that is not there.
  std::function<const std::vector<double>&(std::string_view)> dataset;

  /// Numbers of single adapters made before; null for those that are not there.
  std::function<const std::vector<double>*(std::string_view)> of_adapters;

  std::size_t cells() const { return layout.adapters * layout.modules; }

  /// [adapters]: the largest value of a dataset among the adapter's modules, NaN if all are.
  std::vector<double> largest_of_modules(std::string_view name) const;
};

}  // namespace winnow::methods
