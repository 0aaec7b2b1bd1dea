// Measures the constants of the scaling model on this machine, each on its own, with the very code of the audit.
#pragma once

#include <cstdint>

#include "winnow/comm/communicator.hpp"
#include "winnow/forecast/cost_constants.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/seams.hpp"
#include "winnow/slab/plan.hpp"

namespace winnow::forecast {

/// Bounds of a calibration: by default some ten seconds.
struct CalibrationEffort {
  std::uint64_t features = 8192;                 ///< of the synthetic modules
  std::uint64_t slab_bytes = slab::kSlabBytes;   ///< of their slabs
  double seconds_per_rate = 0.05;                ///< for each arithmetic rate, three times
  std::uint64_t storage_bytes = 1536ULL << 20U;  ///< of the checkpoints' own weights to read, a quarter of it warm
  double storage_seconds = 2;                    ///< after which reading stops
};

/// Seconds since this process was started, to 10 ms: what loading libraries and MPI_Init took, when asked first thing.
double process_age_seconds();

/// Collective; the result is the coordinator's. Arithmetic, statistics: on synthetic weights in memory. Storage: reads
/// a part of the weights of `inputs` past the page cache, then a smaller part from it, which stays in it. Factors: from
/// the adapters of `inputs`. `sums` are those of the run, bits of methods::Sum. Throws Error(usage) if two ranks
/// share a node: they would disturb each other.
CostConstants calibrate(const input::Inputs& inputs, std::uint32_t sums, const run::Means& means,
                        const run::Seams& seams, double start_up_seconds, comm::Communicator& world,
                        const CalibrationEffort& effort = {});

}  // namespace winnow::forecast
