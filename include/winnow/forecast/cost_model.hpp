// How long an audit takes: the scaling model of `winnow plan`. Pure functions of the plan and of measured constants.
//
// A rank reads ahead all the time, of its share of the node's storage bandwidth, and works on what has arrived:
//
//     T(rank) = headers + first slab + max(S, W) + (1 - overlap) * min(S, A)
//     S = bytes / BW(P)      A = flops / (threads * F(R)) + entries      W = factors + A + statistics
//     T = max over ranks T(rank) + messages to the coordinator
//
// What of this is not W shows as the stage `read`, waiting. Reading takes cores as well: `overlap` is 1 if it has
// some to itself, and what was measured if all of them compute. Nothing is communicated before the gather at the
// end; a rank that is done early waits there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "winnow/division/team_plan.hpp"
#include "winnow/forecast/cost_constants.hpp"
#include "winnow/input/inputs.hpp"

namespace winnow::forecast {

/// The sweeps over the weights of one module, for the layers that are stacked at once.
struct BatchWork {
  std::uint64_t weights = 0;  ///< elements of one checkpoint's tensor
  std::uint64_t columns = 0;  ///< R, with the sketch of V
  std::uint64_t sketch_columns = 0;
  bool both_passes = true;                  ///< over V
  bool along = false;                       ///< one sweep over a direction, at the rate of pass 1
  bool weight = false;                      ///< one over W without the sketch of V, likewise
  bool right = false;                       ///< one more over W, at the rate of pass 2
  std::uint64_t weight_sketch_columns = 0;  ///< that go by in these two instead
};

struct RankWork {
  std::vector<BatchWork> batches;
  std::uint64_t weight_bytes = 0;   ///< of both checkpoints, each once
  std::uint64_t read_bytes = 0;     ///< more if a module does not fit the memory budget
  std::uint64_t factor_bytes = 0;   ///< of adapters
  std::uint64_t sketch_values = 0;  ///< deviates drawn
  /// Multiply-adds of the r x r sums: o * r * (4 * r + c) + i * r * (r + c) a layer; of H = W^T*B i * r * 2 * r more,
  /// of K = W*A^T o * r * (2 * r + 2 * c) + i * r * c more, c that of W, whose own are 3 * i * c * c + o * c * c a
  /// batch.
  double gram_units = 0;
  double entries = 0;         ///< of C*dW and dW together, if they are asked for
  double entry_products = 0;  ///< multiply-adds that make them: r an entry
  double metric_units = 0;    ///< of A * A^T: i * r * r a layer
  double intruder_units = 0;  ///< metrics::intruder_multiply_adds() of each layer, if they are asked for
};

struct AuditWork {
  std::vector<RankWork> ranks;
  std::uint64_t adapters = 0;  ///< that are scored
  double header_seconds = 0;   ///< that reading all headers took just now: it is what the audit does first
};

/// What each rank does. The all-reduces of a team are not counted.
AuditWork audit_work(const input::Inputs& inputs, const division::Assignment& assignment, std::uint64_t memory_budget);

/// Where the audit would run. Ranks fill one node after the other.
struct Site {
  int ranks_per_node = 1;
  int threads = 0;            ///< of a rank; 0: its share of the node's cores
  double node_bandwidth = 0;  ///< bytes/s that storage gives one node; 0: as measured
  bool warm = false;          ///< the weights are in the page cache
};

/// As in a report's /run.
struct StageSeconds {
  std::string stage;
  double seconds = 0;
};

struct Prediction {
  std::vector<StageSeconds> stages;    ///< mean over the ranks; `gather` holds the waiting for the slowest of them
  double total = 0;                    ///< seconds, the sum of the stages
  double bytes_per_second = 0;         ///< weights, counted once, over the total
  double storage = 0, arithmetic = 0;  ///< seconds of the slowest rank, had it nothing else to do
  std::string bottleneck;  ///< storage, arithmetic, start-up (headers), adapters (loading factors) or statistics
};

Prediction predict(const AuditWork& work, const CostConstants& constants, const Site& site);

/// The number of adapters like those planned for from which on arithmetic takes longer than reading the weights; at
/// least 1. std::nullopt if there are none to go by or it would be more than a million.
std::optional<std::uint64_t> crossover(const AuditWork& work, const CostConstants& constants, const Site& site);

}  // namespace winnow::forecast
