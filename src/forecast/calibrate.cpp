#include "winnow/forecast/calibrate.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <sstream>
#include <tuple>

#include "measure.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/score/factor_loader.hpp"

namespace winnow::forecast {
namespace {

using input::Inputs;
using input::LayerRef;
using run::Means;
using run::Seams;
using score::FactorLoader;

constexpr std::uint64_t kFactorBytes = 128ULL << 20U;
constexpr double kFactorSeconds = 0.5;
constexpr int kMessages = 200;
constexpr double kTypicalMessageSeconds = 1e-4;

std::string processor_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

/// A small message of every rank, one after the other: what gathering costs the coordinator.
double measure_messages(comm::Communicator& world) {
  if (world.size() == 1) return kTypicalMessageSeconds;
  const std::string message(1024, ' ');
  world.barrier();
  const double seconds = seconds_of([&] {
    for (int k = 0; k < kMessages; ++k) world.gather(message, comm::kCoordinator);
  });
  return seconds / kMessages / (world.size() - 1);
}

/// As the audit loads them, from the page cache.
double measure_factors(const Inputs& inputs, const Seams& seams) {
  FactorLoader loader(inputs.adapters, seams.make_reader, 1);
  std::uint64_t bytes = 0;
  double seconds = 0;
  for (std::size_t m = 0; m < inputs.tasks.size() && bytes < kFactorBytes && seconds < kFactorSeconds; ++m) {
    if (inputs.is_dense(inputs.tasks[m])) continue;
    const std::vector<LayerRef> layer{inputs.layers[m].front()};
    const auto& lora = inputs.lora(layer.front());
    std::vector<std::string> faults(1);  // what is not finite is the audit's to report
    const auto load = [&] {
      auto stack = compute::make_factor_stack(lora.out_features, lora.in_features, {lora.rank}, 0, 0, "");
      loader.load(layer, stack, faults);
    };
    load();  // into the page cache
    seconds += seconds_of(load);
    bytes += lora.lora_a.own_bytes() + lora.lora_b.own_bytes();
  }
  constexpr double kUsual = 0.3e9;  // where there are no factors to be read
  return bytes == 0 ? kUsual : static_cast<double>(bytes) / seconds;
}

double measure_sketch(const CalibrationEffort& effort) {
  constexpr std::uint64_t kSketch = 8;
  std::vector<double> samples;
  for (int sample = 0; sample < 3; ++sample) {
    samples.push_back(
        seconds_of([&] { compute::make_factor_stack(effort.features, effort.features, {}, kSketch, 0, "calibrate"); }));
  }
  return static_cast<double>(effort.features * kSketch) / undisturbed(samples);
}

}  // namespace

double process_age_seconds() {
  // Field 22 of stat: ticks from boot to the start. Names in parentheses may hold blanks.
  std::ifstream stat_file("/proc/self/stat"), uptime_file("/proc/uptime");
  std::string stat;
  std::getline(stat_file, stat);
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double started = 0, uptime = 0;
  if (!(fields >> started) || !(uptime_file >> uptime)) return 0;
  return std::max(0.0, uptime - started / static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

CostConstants calibrate(const Inputs& inputs, std::uint32_t sums, const Means& means, const Seams& seams,
                        double start_up_seconds, comm::Communicator& world, const CalibrationEffort& effort) {
  if (world.maximum(world.node_size()) > 1) {
    comm::throw_alike(base::Error(base::ErrorKind::usage, "--calibrate measures a whole node")
                          .expected("one rank on each")
                          .advice("run it without mpirun"));
  }
  CostConstants constants;
  constants.message_seconds = measure_messages(world);
  comm::from_coordinator(world, [&] {
    constants.machine = processor_model();
    constants.created_utc = fmt::format(
        "{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
    constants.backend = compute::name(means.backend);
    constants.cores = base::default_threads(1);
    constants.start_up_seconds = start_up_seconds;
    measure_storage(inputs, effort, constants);
    measure_arithmetic(means, effort, constants);
    measure_overlap(inputs, means, effort, constants);
    std::tie(constants.gram_seconds, constants.metric_seconds) = measure_statistics(means, sums, effort);
    constants.intruder_seconds = measure_intruders();
    measure_entries(means, effort, constants);
    while_reading(inputs, effort, [&] {
      constants.factor_bytes_per_second = measure_factors(inputs, seams);
      constants.sketch_values_per_second = measure_sketch(effort);
    });
    return std::string();
  });
  return constants;
}

}  // namespace winnow::forecast
