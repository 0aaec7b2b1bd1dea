#include "winnow/forecast/cost_model.hpp"

#include <algorithm>
#include <cmath>

#include "winnow/division/memory.hpp"
#include "winnow/metrics/intruders.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::forecast {
namespace {

using division::Assignment;
using division::TeamPlace;
using input::Inputs;

constexpr std::uint64_t kMostAdapters = 1'000'000;

/// Seconds one thread takes for a weight in one pass: piecewise linear in R between the measured points, as a cost of
/// conversion plus one per column would be; of the last point's flop/s beyond it. Never falls as R rises, whatever
/// noise the measurement had.
double weight_seconds(const std::vector<ArithmeticRate>& rates, double ArithmeticRate::*pass, double columns) {
  double previous_columns = 0, previous = 0, seconds = 0;
  bool first = true;
  for (const auto& rate : rates) {
    const auto here = static_cast<double>(rate.columns);
    seconds = std::max(previous, 2 * here / rate.*pass);
    if (first && columns <= here) return seconds;  // conversion is what counts there
    if (columns <= here)
      return previous + (seconds - previous) * (columns - previous_columns) / (here - previous_columns);
    previous_columns = here;
    previous = seconds;
    first = false;
  }
  return seconds * columns / previous_columns;
}

/// What one rank has of its node.
struct Share {
  double threads = 1;     ///< that make progress at once
  double contention = 0;  ///< 0: the only thread of the node; 1: all cores are at it
  double bandwidth = 0;   ///< bytes/s
};

const StorageRate& storage_rate(const CostConstants& constants, const Site& site) {
  return site.warm ? constants.warm : constants.cold;
}

/// What storage gives a node on which `ranks` read.
double node_bandwidth(const CostConstants& constants, const Site& site, int ranks) {
  if (site.node_bandwidth > 0) return site.node_bandwidth;
  const auto& rate = storage_rate(constants, site);
  if (constants.streams <= 1) return rate.rank;
  const double place = std::clamp((ranks - 1.0) / (constants.streams - 1.0), 0.0, 1.0);
  return rate.rank + (rate.node - rate.rank) * place;
}

Share share_of(const AuditWork& work, const CostConstants& constants, const Site& site, std::size_t rank) {
  const auto per_node = static_cast<std::size_t>(std::max(site.ranks_per_node, 1));
  const auto first = rank / per_node * per_node;
  const auto last = std::min(first + per_node, work.ranks.size());
  int reading = 0;
  for (std::size_t r = first; r < last; ++r) reading += work.ranks[r].read_bytes > 0 ? 1 : 0;
  const auto on_node = static_cast<double>(last - first);
  const double threads = site.threads > 0 ? site.threads : std::max(1.0, std::floor(constants.cores / on_node));
  Share share;
  share.threads = std::min(threads, constants.cores / on_node);
  const double busy = std::min<double>(constants.cores, threads * on_node);
  share.contention = constants.cores > 1 ? (busy - 1) / (constants.cores - 1.0) : 1.0;
  share.bandwidth = node_bandwidth(constants, site, std::max(reading, 1)) / std::max(reading, 1);
  return share;
}

/// Which sweep of a batch is meant.
using Sweep = bool BatchWork::*;

/// Seconds of one kind of sweep of a rank; `growth` multiplies its adapters.
double pass_seconds(const RankWork& work, const CostConstants& constants, const Share& share,
                    double ArithmeticRate::*pass, Sweep sweep, double growth = 1) {
  double seconds = 0;
  for (const auto& batch : work.batches) {
    if (!(batch.*sweep)) continue;
    const auto sketch = static_cast<double>(batch.sketch_columns);
    const bool of_weight = sweep == &BatchWork::weight || sweep == &BatchWork::right;
    const double shared = of_weight                          ? static_cast<double>(batch.weight_sketch_columns)
                          : sweep == &BatchWork::both_passes ? sketch
                                                             : 0;
    const double columns = shared + growth * (static_cast<double>(batch.columns) - sketch);
    const double alone = weight_seconds(constants.one_thread, pass, columns);
    const double crowded = weight_seconds(constants.all_threads, pass, columns);
    seconds += static_cast<double>(batch.weights) * (alone + (crowded - alone) * share.contention) / share.threads;
  }
  return seconds;
}

/// Of all sweeps.
double sweep_seconds(const RankWork& work, const CostConstants& constants, const Share& share, double growth) {
  double seconds = 0;
  for (const Sweep sweep : {&BatchWork::both_passes, &BatchWork::right}) {
    seconds += pass_seconds(work, constants, share, &ArithmeticRate::pass2, sweep, growth);
  }
  for (const Sweep sweep : {&BatchWork::both_passes, &BatchWork::along, &BatchWork::weight}) {
    seconds += pass_seconds(work, constants, share, &ArithmeticRate::pass1, sweep, growth);
  }
  return seconds;
}

struct RankSeconds {
  double factors = 0, read = 0, pass1 = 0, pass2 = 0, weight = 0, elements = 0, statistics = 0;  ///< as /run has them
  double storage = 0, arithmetic = 0;  ///< had it nothing else to do
  double busy() const { return factors + read + pass1 + pass2 + weight + elements + statistics; }
};

double element_seconds(const RankWork& work, const CostConstants& constants, const Share& share) {
  return (work.entries * constants.entry_seconds + work.entry_products * constants.entry_product_seconds) /
         share.threads;
}

RankSeconds rank_seconds(const RankWork& work, const CostConstants& constants, const Site& site, const Share& share) {
  RankSeconds seconds;
  const auto bytes = static_cast<double>(work.read_bytes);
  seconds.storage = bytes / share.bandwidth;
  seconds.factors = static_cast<double>(work.factor_bytes) / constants.factor_bytes_per_second +
                    static_cast<double>(work.sketch_values) / constants.sketch_values_per_second;
  seconds.pass1 = pass_seconds(work, constants, share, &ArithmeticRate::pass1, &BatchWork::both_passes) +
                  pass_seconds(work, constants, share, &ArithmeticRate::pass1, &BatchWork::along);
  seconds.pass2 = pass_seconds(work, constants, share, &ArithmeticRate::pass2, &BatchWork::both_passes);
  seconds.weight = pass_seconds(work, constants, share, &ArithmeticRate::pass1, &BatchWork::weight) +
                   pass_seconds(work, constants, share, &ArithmeticRate::pass2, &BatchWork::right);
  seconds.statistics = work.gram_units * constants.gram_seconds / share.threads +
                       work.metric_units * constants.metric_seconds + work.intruder_units * constants.intruder_seconds;
  seconds.elements = element_seconds(work, constants, share);
  seconds.arithmetic = seconds.pass1 + seconds.pass2 + seconds.weight + seconds.elements;
  const double first_slab = std::min(bytes, static_cast<double>(slab::kSlabBytes)) / share.bandwidth;
  const double reading = seconds.storage - first_slab;
  const double busy = seconds.factors + seconds.arithmetic + seconds.statistics;
  const double lost = (1 - storage_rate(constants, site).overlap) * share.contention;
  seconds.read = first_slab + std::max(0.0, reading - busy) + lost * std::min(reading, seconds.arithmetic);
  return seconds;
}

std::string bottleneck_of(const RankSeconds& rank, double headers) {
  const double work = rank.factors + rank.arithmetic + rank.statistics;
  if (headers > std::max(rank.storage, work)) return "start-up";
  if (rank.storage > work) return "storage";
  if (rank.arithmetic >= std::max(rank.factors, rank.statistics)) return "arithmetic";
  return rank.factors > rank.statistics ? "adapters" : "statistics";
}

/// Dense updates are read with their weights, by one member of a team, and little is computed of what is read.
void add_dense(RankWork& rank, const slab::ModuleTask& task, const TeamPlace& place) {
  if (place.member != 0) return;
  rank.weight_bytes += task.all_bytes() - task.update_bytes;
  rank.read_bytes += task.all_bytes();
}

RankWork rank_work(const Inputs& inputs, const std::vector<std::size_t>& modules, std::uint64_t memory_budget,
                   const TeamPlace& place) {
  RankWork rank;
  std::vector<slab::StreamedModule> stream;
  for (const auto m : modules) {
    const auto& task = inputs.tasks[m];
    const auto& layers = inputs.layers[m];
    if (inputs.is_dense(task)) {
      add_dense(rank, task, place);
      continue;
    }
    stream.push_back(division::streamed(inputs, m, memory_budget, place));
    std::uint64_t rows = 0;
    for (const auto& slab : stream.back().slabs) rows += slab.rows;
    if (task.rows() == 0) continue;
    const double share = static_cast<double>(rows) / static_cast<double>(task.rows());
    rank.weight_bytes += task.bytes() / task.rows() * rows;
    const auto sketch = task.sketch_columns, weight_sketch = task.weight_sketch_columns;
    const auto out = static_cast<double>(task.out_features), in = static_cast<double>(task.in_features);
    const auto c = static_cast<double>(weight_sketch);
    for (std::size_t first = 0; first < layers.size();) {
      const auto count = division::batch_size(inputs, m, first, memory_budget);
      BatchWork batch{rows * task.columns(),
                      sketch,
                      sketch,
                      task.has_base(),
                      inputs.is_direction(task),
                      task.weight_sweeps > 0,
                      task.weight_sweeps > 1,
                      weight_sketch};
      for (std::size_t k = first; k < first + count; ++k) {
        const auto& lora = inputs.lora(layers[k]);
        const auto r = static_cast<double>(lora.rank);
        batch.columns += lora.rank;
        rank.factor_bytes += lora.lora_a.own_bytes() + lora.lora_b.own_bytes();
        rank.gram_units +=
            share * (out * r * (4 * r + static_cast<double>(sketch)) + in * r * (r + static_cast<double>(sketch)));
        if (batch.weight) rank.gram_units += share * in * r * 2 * r;
        if (batch.right) rank.gram_units += share * (out * r * (2 * r + 2 * c) + in * r * c);
        if (place.member != 0) continue;
        rank.metric_units += in * r * r;
        if (task.entries) {  // teams do not share them: there are none then
          rank.entries += 2 * out * in;
          rank.entry_products += 2 * out * in * r;
        }
        if (weight_sketch != 0) rank.intruder_units += metrics::intruder_multiply_adds(lora.rank, weight_sketch);
      }
      rank.gram_units += share * (3 * in + out) * c * c;
      rank.sketch_values += task.out_features * (sketch + weight_sketch);
      rank.batches.push_back(batch);
      first += count;
    }
  }
  if (!modules.empty()) {
    rank.read_bytes += slab::bytes_to_read(stream, division::share_memory(inputs, modules, memory_budget, place).slabs);
  }
  return rank;
}

}  // namespace

AuditWork audit_work(const Inputs& inputs, const Assignment& assignment, std::uint64_t memory_budget) {
  AuditWork work;
  for (const auto& adapter : inputs.adapters) work.adapters += adapter.status == adapter::AdapterStatus::ok ? 1 : 0;
  for (int rank = 0; rank < assignment.ranks; ++rank) {
    work.ranks.push_back(rank_work(inputs, assignment.modules_of(rank), memory_budget, assignment.place_of(rank)));
  }
  return work;
}

Prediction predict(const AuditWork& work, const CostConstants& constants, const Site& site) {
  std::vector<RankSeconds> ranks;
  std::uint64_t bytes = 0;
  for (std::size_t r = 0; r < work.ranks.size(); ++r) {
    ranks.push_back(rank_seconds(work.ranks[r], constants, site, share_of(work, constants, site, r)));
    bytes += work.ranks[r].weight_bytes;
  }
  const auto slowest =
      *std::max_element(ranks.begin(), ranks.end(), [](const auto& a, const auto& b) { return a.busy() < b.busy(); });
  RankSeconds mean;
  const auto count = static_cast<double>(ranks.size());
  for (const auto& rank : ranks) {
    mean.factors += rank.factors / count;
    mean.read += rank.read / count;
    mean.pass1 += rank.pass1 / count;
    mean.pass2 += rank.pass2 / count;
    mean.weight += rank.weight / count;
    mean.elements += rank.elements / count;
    mean.statistics += rank.statistics / count;
  }
  const double gather = slowest.busy() - mean.busy() + (count - 1) * constants.message_seconds;
  Prediction prediction;
  prediction.stages = {{"headers", work.header_seconds},
                       {"factors", mean.factors},
                       {"read", mean.read},
                       {"pass1", mean.pass1},
                       {"pass2", mean.pass2},
                       {"statistics", mean.statistics},
                       {"gather", std::max(0.0, gather)}};
  // As a report has them: after those over V.
  for (const auto& [name, seconds] : {StageSeconds{"elements", mean.elements}, StageSeconds{"weight", mean.weight}}) {
    if (seconds > 0) prediction.stages.insert(prediction.stages.begin() + 5, {name, seconds});
  }
  for (const auto& stage : prediction.stages) prediction.total += stage.seconds;
  prediction.bytes_per_second = prediction.total > 0 ? static_cast<double>(bytes) / prediction.total : 0;
  prediction.storage = slowest.storage;
  prediction.arithmetic = slowest.arithmetic;
  prediction.bottleneck = bottleneck_of(slowest, work.header_seconds);
  return prediction;
}

std::optional<std::uint64_t> crossover(const AuditWork& work, const CostConstants& constants, const Site& site) {
  if (work.adapters == 0) return std::nullopt;
  const auto arithmetic_takes_over = [&](std::uint64_t adapters) {
    const double growth = static_cast<double>(adapters) / static_cast<double>(work.adapters);
    double storage = 0, arithmetic = 0;
    for (std::size_t r = 0; r < work.ranks.size(); ++r) {
      const auto& rank = work.ranks[r];
      const auto share = share_of(work, constants, site, r);
      storage = std::max(storage, static_cast<double>(rank.weight_bytes) / share.bandwidth);
      arithmetic = std::max(
          arithmetic, sweep_seconds(rank, constants, share, growth) + growth * element_seconds(rank, constants, share));
    }
    return arithmetic > storage;
  };
  if (!arithmetic_takes_over(kMostAdapters)) return std::nullopt;
  std::uint64_t low = 0, high = kMostAdapters;  // not at low, at high
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    (arithmetic_takes_over(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace winnow::forecast
