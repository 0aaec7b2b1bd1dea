// Calibration: how fast the weights of an audit come to memory, read as the audit reads and then dropped.
#include <exception>
#include <stop_token>
#include <thread>

#include "measure.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/slab/stream.hpp"

namespace winnow::forecast {
namespace {

using input::Inputs;
using run::Means;
using slab::IoMode;

constexpr int kMostStreams = 8;
constexpr std::uint64_t kSlotsOfStream = 8;
constexpr int kWarmSamples = 5;

struct EnoughRead {};

/// The first slabs of the audit, dealt out to as many streams; a stream may have none.
std::vector<std::vector<slab::StreamedModule>> first_slabs(const Inputs& inputs, std::uint64_t bytes, int streams) {
  std::vector<std::vector<slab::StreamedModule>> dealt(static_cast<std::size_t>(streams));
  std::uint64_t taken = 0, number = 0;
  for (const auto& task : inputs.tasks) {
    if (inputs.is_dense(task)) continue;  // not streamed
    for (auto& part : dealt) part.push_back({&task, {}, 1});
    for (const auto& range : slab::split(task)) {
      if (taken >= bytes) break;
      dealt[number++ % dealt.size()].back().slabs.push_back(range);
      taken += task.bytes() / task.rows() * range.rows;
    }
    if (taken >= bytes) break;
  }
  for (auto& part : dealt) std::erase_if(part, [](const auto& module) { return module.slabs.empty(); });
  return dealt;
}

struct Reading {
  std::uint64_t bytes = 0;
  double seconds = 0;
  double rate() const { return static_cast<double>(bytes) / seconds; }
};

/// Reads and drops until all is read or the time is over.
std::uint64_t read_one(const Inputs& inputs, const std::vector<slab::StreamedModule>& modules, IoMode mode,
                       double limit) {
  std::uint64_t bytes = 0;
  slab::StreamOptions options;
  options.memory_bytes = kSlotsOfStream * slab::slab_memory(modules);
  options.make_reader = [mode] { return slab::make_reader(mode); };
  const auto start = std::chrono::steady_clock::now();
  slab::SlabStream stream(inputs.sources(), modules, options);
  try {
    for (const auto& module : modules) {
      const std::uint64_t row_bytes = module.task->bytes() / module.task->rows();
      stream.for_each([&](const slab::Slab& slab) {
        bytes += slab.rows * row_bytes;
        if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > limit) throw EnoughRead{};
      });
    }
  } catch (const EnoughRead&) {
  }
  return bytes;
}

/// All streams at once, as that many ranks would.
Reading read_all(const Inputs& inputs, const std::vector<std::vector<slab::StreamedModule>>& streams, IoMode mode,
                 double limit) {
  Reading reading;
  std::vector<std::uint64_t> bytes(streams.size());
  std::vector<std::exception_ptr> failures(streams.size());
  reading.seconds = seconds_of([&] {
    std::vector<std::jthread> threads;
    for (std::size_t k = 0; k < streams.size(); ++k) {
      threads.emplace_back([&, k] {
        try {
          if (!streams[k].empty()) bytes[k] = read_one(inputs, streams[k], mode, limit);
        } catch (...) {
          failures[k] = std::current_exception();
        }
      });
    }
  });
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  for (const auto part : bytes) reading.bytes += part;
  return reading;
}

/// Seconds of one pass over one weight, all cores at it.
double pass1_seconds(const CostConstants& constants, std::uint64_t columns) {
  for (const auto& rate : constants.all_threads) {
    if (rate.columns == columns) return 2.0 * static_cast<double>(columns) / (rate.pass1 * constants.cores);
  }
  throw base::Error(base::ErrorKind::runtime, "internal: no rate for the columns of the default run");
}

/// Past the page cache if the file system lets us.
IoMode cold_mode(const Inputs& inputs) {
  try {
    read_all(inputs, first_slabs(inputs, 1, 1), IoMode::direct, 1.0);
    return IoMode::direct;
  } catch (const base::Error&) {
    return IoMode::buffered;
  }
}

}  // namespace

void measure_storage(const Inputs& inputs, const CalibrationEffort& effort, CostConstants& constants) {
  if (first_slabs(inputs, 1, 1).front().empty()) {
    throw base::Error(base::ErrorKind::invalid_input,
                      "nothing to calibrate with: no weights an adapter can be scored on");
  }
  constants.streams = std::clamp(constants.cores, 1, kMostStreams);
  const auto mode = cold_mode(inputs);
  const auto alone = read_all(inputs, first_slabs(inputs, effort.storage_bytes, 1), mode, effort.storage_seconds);
  const auto together =
      read_all(inputs, first_slabs(inputs, effort.storage_bytes, constants.streams), mode, effort.storage_seconds);
  constants.cold = {mode == IoMode::direct ? "direct" : "buffered", alone.rate(), together.rate(), 1.0};

  const auto brought =
      read_all(inputs, first_slabs(inputs, effort.storage_bytes / 4, 1), IoMode::buffered, effort.storage_seconds);
  const auto resident = first_slabs(inputs, brought.bytes, 1);
  const auto resident_of_many = first_slabs(inputs, brought.bytes, constants.streams);
  const auto bytes = [](const auto& reading) { return static_cast<double>(reading.bytes); };
  std::vector<double> ranks, nodes;  // seconds a byte
  for (int sample = 0; sample < kWarmSamples; ++sample) {
    const auto one = read_all(inputs, resident, IoMode::mmap, effort.storage_seconds);
    const auto many = read_all(inputs, resident_of_many, IoMode::mmap, effort.storage_seconds);
    ranks.push_back(one.seconds / bytes(one));
    nodes.push_back(many.seconds / bytes(many));
  }
  // Nothing but the work of one core, which all of them share if all compute.
  constants.warm = {"mmap", 1 / undisturbed(ranks), 1 / undisturbed(nodes), 1 - 1.0 / constants.cores};
}

void measure_overlap(const Inputs& inputs, const Means& means, const CalibrationEffort& effort,
                     CostConstants& constants) {
  const auto mode = slab::parse_io_mode(constants.cold.way);
  const auto streams = first_slabs(inputs, effort.storage_bytes, 1);
  const auto& modules = streams.front();
  const auto alone = read_all(inputs, streams, mode, effort.storage_seconds);  // storage may have changed since
  const auto pass = compute::make_alignment_pass(means.backend, means.device, constants.cores);
  slab::StreamOptions stream_options;
  stream_options.memory_bytes = kSlotsOfStream * slab::slab_memory(modules);
  stream_options.make_reader = [mode] { return slab::make_reader(mode); };
  std::uint64_t bytes = 0;
  double arithmetic = 0;
  const double both = seconds_of([&] {
    slab::SlabStream stream(inputs.sources(), modules, stream_options);
    const auto start = std::chrono::steady_clock::now();
    try {
      for (const auto& module : modules) {
        const auto& task = *module.task;
        compute::FactorStack stack;
        arithmetic += seconds_of([&] {
          stack = compute::make_factor_stack(task.out_features, task.in_features, {kDefaultColumns}, 0, 0, "");
          stack.a[0].resize(task.in_features * kDefaultColumns);
          pass->begin(stack, {.stored_transposed = task.stored_transposed,
                              .along = !task.has_base(),
                              .keeps_y = task.weight_sweeps != 0});
        });
        stream.for_each([&](const slab::Slab& slab) {
          for (int twice = 0; twice < 2; ++twice) pass->pass1(slab);  // what the two passes cost
          bytes += task.bytes() / task.rows() * slab.rows;
          arithmetic += 2 * static_cast<double>(slab.rows * slab.columns) * pass1_seconds(constants, kDefaultColumns);
          const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
          if (spent.count() > 2 * effort.storage_seconds) throw EnoughRead{};
        });
      }
    } catch (const EnoughRead&) {
    }
  });
  const double storage = static_cast<double>(bytes) / alone.rate();
  constants.cold.overlap = std::clamp((storage + arithmetic - both) / std::min(storage, arithmetic), 0.0, 1.0);
}

void while_reading(const Inputs& inputs, const CalibrationEffort& effort, const std::function<void()>& work) {
  const auto stream = first_slabs(inputs, effort.storage_bytes / 4, 1);
  std::exception_ptr failure;
  {
    const std::jthread reading([&](const std::stop_token& stopped) {
      try {
        while (!stopped.stop_requested()) read_all(inputs, stream, IoMode::automatic, effort.storage_seconds);
      } catch (...) {
        failure = std::current_exception();
      }
    });
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace winnow::forecast
