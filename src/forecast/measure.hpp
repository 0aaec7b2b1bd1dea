// The parts of a calibration. Private to src/forecast.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "winnow/forecast/calibrate.hpp"

namespace winnow::forecast {

/// Columns of the default run: one adapter of rank 16 and the sketch.
inline constexpr std::uint64_t kDefaultColumns = 16 + 24;

inline double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  // A clock that has not moved would make a rate infinite.
  return std::max(1e-9, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

/// The lowest tenth of at least one sample: what else runs on a machine only ever adds to what work takes.
inline double undisturbed(std::vector<double> seconds) {
  const auto place = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 10);
  std::nth_element(seconds.begin(), place, seconds.end());
  return *place;
}

/// Sets one_thread and all_threads, of CostConstants::cores.
void measure_arithmetic(const run::Means& means, const CalibrationEffort& effort, CostConstants& constants);

/// CostConstants::gram_seconds and metric_seconds, of a run that makes these sums.
std::pair<double, double> measure_statistics(const run::Means& means, std::uint32_t sums,
                                             const CalibrationEffort& effort);

/// CostConstants::intruder_seconds.
double measure_intruders();

/// Sets entry_seconds and entry_product_seconds.
void measure_entries(const run::Means& means, const CalibrationEffort& effort, CostConstants& constants);

/// Sets cold, warm and streams, but for the overlap of cold.
void measure_storage(const input::Inputs& inputs, const CalibrationEffort& effort, CostConstants& constants);

/// Sets the overlap of cold, once all rates are known: reads and multiplies at the same time, with all cores.
void measure_overlap(const input::Inputs& inputs, const run::Means& means, const CalibrationEffort& effort,
                     CostConstants& constants);

/// Calls `work` while a thread reads weights as the audit does: what it allocates then waits for the locks that reading
/// holds on the memory of the process.
void while_reading(const input::Inputs& inputs, const CalibrationEffort& effort, const std::function<void()>& work);

}  // namespace winnow::forecast
