// What an audit measures of each layer.
#pragma once

#include <cstdint>

#include "winnow/methods/table.hpp"
#include "winnow/run/reading.hpp"

namespace winnow::run {

struct Measuring {
  /// Sums that are asked for beyond those of the update, bits of methods::Sum; those that the inputs allow are made.
  std::uint32_t sums = methods::kDefaultSums;
  std::uint64_t subspace_rank = 6;  ///< directions of the safety subspace; 0 switches the sketch off
  std::uint64_t seed = 0;           ///< of the sketch
  bool element_statistics = false;
  bool heads = false;  ///< products with probes by attention head as well
};

/// The sums over the weights that such a run makes, bits of methods::Sum.
std::uint32_t sums_of(const Reading& reading, const Measuring& measuring);

}  // namespace winnow::run
