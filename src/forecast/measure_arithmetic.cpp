// Calibration: the alignment pass and the statistics on synthetic weights in memory.
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "measure.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/spread.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::forecast {
namespace {

using run::Means;

/// One adapter's columns, the default run's, and up to what many adapters stack.
constexpr std::array<std::uint64_t, 5> kColumns{8, kDefaultColumns, 64, 256, 1600};

/// More than the caches hold: with few columns memory sets the rate.
constexpr std::uint64_t kSlabs = 4;
constexpr std::size_t kLeastSamples = 4;
constexpr int kRounds = 3;
/// Four blocks of the kernel.
constexpr std::uint64_t kRowsOfThread = 256;
/// What one sample should take: a part of a slab if a slab takes longer, so that there are many to choose from.
constexpr double kLongestSample = 0.01;
/// What all samples of a rate may take, for slow backends.
constexpr double kLongestRate = 2.0;

/// A pair of bf16 weights of the size of the audit's slabs, small numbers that are not zero.
class SyntheticWeights {
 public:
  explicit SyntheticWeights(const CalibrationEffort& effort) : columns_(effort.features) {
    rows_ = std::max<std::uint64_t>(1, effort.slab_bytes / (2 * sizeof(std::uint16_t) * columns_));
    const std::uint64_t bytes = kSlabs * rows_ * columns_ * sizeof(std::uint16_t);
    std::uint64_t state = 1;
    for (auto* weights : {&base_, &aligned_}) {
      weights->reserve(bytes);
      for (std::uint64_t at = 0; at < bytes; at += sizeof(state)) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        const std::uint64_t four = (state >> 13U & 0x01FF01FF01FF01FFULL) | 0x3C003C003C003C00ULL;
        std::memcpy(weights->data() + at, &four, std::min<std::uint64_t>(sizeof(four), bytes - at));
      }
    }
  }

  std::uint64_t rows_of_slab() const { return rows_; }
  std::uint64_t out_features() const { return kSlabs * rows_; }
  std::uint64_t in_features() const { return columns_; }

  slab::Slab slab(std::uint64_t number, std::uint64_t rows) const {
    const std::uint64_t first = number % kSlabs * rows_;
    const std::uint64_t offset = first * columns_ * sizeof(std::uint16_t);
    slab::Slab slab;
    slab.row_begin = first;
    slab.rows = rows;
    slab.columns = columns_;
    slab.base = base_.data() + offset;
    slab.aligned = aligned_.data() + offset;
    return slab;
  }

 private:
  std::uint64_t rows_ = 0, columns_;
  slab::AlignedBuffer base_, aligned_;
};

compute::FactorStack synthetic_factors(const SyntheticWeights& weights, std::vector<std::uint64_t> ranks,
                                       std::uint64_t sketch) {
  auto stack = compute::make_factor_stack(weights.out_features(), weights.in_features(), std::move(ranks), sketch, 0,
                                          "calibrate");
  const auto value = [](std::uint64_t k) { return static_cast<float>(k % 29) * 1e-3F - 0.014F; };
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    std::vector<float> b(weights.out_features() * stack.ranks[j]);
    for (std::size_t k = 0; k < b.size(); ++k) b[k] = value(k + j);
    compute::place_b(stack, j, b);
    stack.a[j].resize(stack.ranks[j] * weights.in_features());
    for (std::size_t k = 0; k < stack.a[j].size(); ++k) stack.a[j][k] = value(k + j + 7);
  }
  return stack;
}

/// flop/s of one pass, slab after slab, of all threads together.
double rate_of(const SyntheticWeights& weights, std::uint64_t columns, int threads, double budget,
               const std::function<void(const slab::Slab&)>& pass) {
  // The first slab, or as much of it as keeps every thread busy, warms up and tells how long one takes.
  auto rows = std::min(weights.rows_of_slab(), kRowsOfThread * static_cast<std::uint64_t>(threads));
  const double first = seconds_of([&] { pass(weights.slab(0, rows)); });
  const double whole = first * static_cast<double>(weights.rows_of_slab()) / static_cast<double>(rows);
  if (whole < kLongestSample) rows = weights.rows_of_slab();
  std::vector<double> samples;
  double spent = 0;
  for (std::uint64_t k = 1; (spent < budget || samples.size() < kLeastSamples) && spent < kLongestRate; ++k) {
    samples.push_back(seconds_of([&] { pass(weights.slab(k, rows)); }));
    spent += samples.back();
  }
  return 2.0 * static_cast<double>(rows * weights.in_features() * columns) / undisturbed(samples);
}

}  // namespace

void measure_arithmetic(const Means& means, const CalibrationEffort& effort, CostConstants& constants) {
  const SyntheticWeights weights(effort);
  std::vector<compute::FactorStack> stacks;
  for (const auto columns : kColumns) stacks.push_back(synthetic_factors(weights, {columns}, 0));
  const auto measure = [&](int threads, std::vector<ArithmeticRate>& rates) {
    const auto pass = compute::make_alignment_pass(means.backend, means.device, threads);
    rates.resize(kColumns.size());
    for (std::size_t k = 0; k < rates.size(); ++k) {
      auto& rate = rates[k];
      rate.columns = kColumns[k];
      const auto improve = [&](double& best, const std::function<void(const slab::Slab&)>& work) {
        best = std::max(best, rate_of(weights, rate.columns, threads, effort.seconds_per_rate, work) / threads);
      };
      pass->begin(stacks[k], {});
      improve(rate.pass1, [&](const slab::Slab& slab) { pass->pass1(slab); });
      improve(rate.pass2, [&](const slab::Slab& slab) { pass->pass2(slab); });
    }
  };
  // Round after round: a spell in which something else runs does not hit one rate alone.
  for (int round = 0; round < kRounds; ++round) {
    measure(1, constants.one_thread);
    if (constants.cores > 1) measure(constants.cores, constants.all_threads);
  }
  if (constants.cores == 1) constants.all_threads = constants.one_thread;
}

void measure_entries(const Means& means, const CalibrationEffort& effort, CostConstants& constants) {
  constexpr std::array<std::uint64_t, 2> kRanks{8, 64};
  // Float64 loops would take a minute.
  auto small = effort;
  if (means.backend == compute::Backend::reference)
    small.slab_bytes = std::min<std::uint64_t>(small.slab_bytes, 1 << 18);
  const SyntheticWeights weights(small);
  const auto pass = compute::make_alignment_pass(means.backend, means.device, 1);
  const double entries = 2.0 * static_cast<double>(weights.out_features() * weights.in_features());
  std::array<double, kRanks.size()> each{};  // seconds of an entry
  for (std::size_t k = 0; k < each.size(); ++k) {
    const auto stack = synthetic_factors(weights, {kRanks[k]}, 0);
    pass->begin(stack, {});
    for (std::uint64_t number = 0; number < kSlabs; ++number) pass->pass1(weights.slab(number, weights.rows_of_slab()));
    for (std::uint64_t number = 0; number < kSlabs; ++number) pass->pass2(weights.slab(number, weights.rows_of_slab()));
    pass->finish();
    std::vector<double> samples;
    for (std::size_t sample = 0; sample < kLeastSamples; ++sample) {
      samples.push_back(seconds_of([&] { pass->element_statistics(); }));
    }
    each[k] = undisturbed(samples) / entries;
  }
  // A line through both, of which noise makes neither part vanish.
  const double least = 0.01 * each[0] / static_cast<double>(kRanks[1]);
  constants.entry_product_seconds = std::max(least, (each[1] - each[0]) / static_cast<double>(kRanks[1] - kRanks[0]));
  constants.entry_seconds = std::max(least, each[0] - constants.entry_product_seconds * static_cast<double>(kRanks[0]));
}

std::pair<double, double> measure_statistics(const Means& means, std::uint32_t sums, const CalibrationEffort& effort) {
  constexpr std::uint64_t kRank = 16, kDirections = 6;
  const std::vector<std::uint64_t> ranks(4, kRank);
  const SyntheticWeights weights(effort);
  const auto sketch = compute::sketch_columns(kDirections, weights.out_features(), weights.in_features());
  const auto stack = synthetic_factors(weights, ranks, sketch);
  const auto pass = compute::make_alignment_pass(means.backend, means.device, 1);
  std::vector<double> finishes, scores;
  const auto methods = methods::chosen(sums);
  for (std::size_t sample = 0; sample < kLeastSamples; ++sample) {
    pass->begin(stack, {});
    pass->pass1(weights.slab(0, std::min<std::uint64_t>(64, weights.rows_of_slab())));
    pass->pass2(weights.slab(0, std::min<std::uint64_t>(64, weights.rows_of_slab())));
    stats::ModuleStatistics statistics;
    finishes.push_back(seconds_of([&] { statistics = pass->finish(); }));
    scores.push_back(seconds_of([&] {
      const metrics::SafetySubspace subspace(statistics.ztz, statistics.mtm, sketch, kDirections);
      const methods::ModuleFacts facts{stack.out_features, stack.in_features, std::sqrt(statistics.squared_norm),
                                       &subspace};
      for (std::size_t j = 0; j < ranks.size(); ++j) {
        const auto gram_a = compute::gram_a(stack, j);
        std::optional<compute::Spread> spread;
        if ((sums & methods::kSpreadSums) != 0) spread = compute::spread_of(stack, j, statistics.layers[j].btb, gram_a);
        methods::layer_values(
            methods, methods::Layer(facts, statistics.layers[j], gram_a, 1.0, {.spread = spread ? &*spread : nullptr}));
      }
    }));
  }
  const auto out = static_cast<double>(stack.out_features), in = static_cast<double>(stack.in_features);
  const double layers = static_cast<double>(ranks.size());
  const double gram_units =
      layers * kRank * (out * (4.0 * kRank + static_cast<double>(sketch)) + in * (kRank + static_cast<double>(sketch)));
  return {undisturbed(finishes) / gram_units, undisturbed(scores) / (layers * in * kRank * kRank)};
}

}  // namespace winnow::forecast
