// What a ModuleScorer works on at a time.
#pragma once

#include <string>
#include <vector>

#include "winnow/compute/element_statistics.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/spread.hpp"
#include "winnow/score/module_scorer.hpp"
#include "winnow/slab/pair_digest.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::score {

/// Empty until a step of the team fills it: what can throw, such as for want of memory, belongs there.
struct ModuleScorer::Batch {
  std::size_t module = 0, first = 0, count = 0;  ///< layers first to first + count of the module
  std::vector<input::LayerRef> layers;
  std::vector<std::string> faults;  ///< [layers]
  std::vector<bool> unreadable;     ///< [layers]: a fault of the file
  compute::FactorStack stack;
  stats::ModuleStatistics statistics;  ///< of V
  stats::ModuleStatistics of_weight;   ///< of W, if it is swept over
  std::vector<compute::ElementStatistics> elements;
  std::vector<compute::Spread> spreads;          ///< [layers], or none if they are not asked for
  std::vector<double> heads;                     ///< [layers][heads of the task] along a direction, of this share
  slab::PairDigest digest;                       ///< of the slabs of this rank
  checkpoint::TensorDigest base, aligned;        ///< of all, on the first member
  std::vector<std::string> parts, weight_parts;  ///< [members], on the first: what is to be merged

  /// Of further batches the weights are the same.
  bool takes_digests() const { return first == 0; }
  const compute::Spread* spread(std::size_t layer) const { return spreads.empty() ? nullptr : &spreads[layer]; }
};

}  // namespace winnow::score
