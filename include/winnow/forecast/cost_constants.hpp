// What the scaling model of `winnow plan` has to know about a machine: measured by `winnow plan --calibrate`, kept as
// JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace winnow::forecast {

/// How fast one thread multiplies R stacked columns, conversion of the weights included.
struct ArithmeticRate {
  std::uint64_t columns = 0;    ///< R
  double pass1 = 0, pass2 = 0;  ///< flop/s, of 2 * R flops a weight and pass
  bool operator==(const ArithmeticRate&) const = default;
};

/// How fast weights come to memory.
struct StorageRate {
  std::string way;  ///< how they were read: direct, buffered, mmap
  double rank = 0;  ///< bytes/s of one rank that reads alone
  double node = 0;  ///< bytes/s of all ranks of a node, CostConstants::streams of them
  /// Share of reading that costs arithmetic nothing if all cores compute: reading takes cores as well, and those of
  /// the host under a virtual machine. In [0, 1].
  double overlap = 1;
  bool operator==(const StorageRate&) const = default;
};

struct CostConstants {
  std::string machine;          ///< processor model
  std::string created_utc;      ///< empty if these are not measured
  std::string backend;          ///< that was measured
  int cores = 1;                ///< of a node, that a process may use
  double start_up_seconds = 0;  ///< from the start of the process to its first work: libraries, MPI; not in /run

  std::vector<ArithmeticRate> one_thread;   ///< by rising R, the rest of the node idle
  std::vector<ArithmeticRate> all_threads;  ///< at the same R, all cores at it
  StorageRate cold, warm;                   ///< not in the page cache, and in it
  int streams = 1;                          ///< ranks that StorageRate::node is the sum of

  double factor_bytes_per_second = 0;   ///< adapter files in the page cache to stacked float columns
  double sketch_values_per_second = 0;  ///< normal deviates of the subspace sketch
  double gram_seconds = 0;              ///< of one thread, for a multiply-add of the r x r sums (RankWork::gram_units)
  double metric_seconds = 0;            ///< for a multiply-add of what is not threaded (RankWork::metric_units)
  double intruder_seconds = 0;          ///< for a multiply-add of metrics::find_intruders()
  double entry_seconds = 0;             ///< of one thread, to place an entry of C*dW or dW among the others
  double entry_product_seconds = 0;     ///< for a multiply-add of the products that these are entries of
  double message_seconds = 0;           ///< that the coordinator takes for the message of one rank

  bool measured() const { return !created_utc.empty(); }
  bool operator==(const CostConstants&) const = default;
};

/// For a machine nobody has measured: slower than most, so that a job planned with them does not run out of time.
CostConstants default_constants(int cores);

/// Throws Error(invalid_input) for a file that holds no constants or impossible ones, Error(runtime) if there is
/// none.
CostConstants read_constants(const std::string& path);

/// Whole or not at all; makes the directory.
void write_constants(const CostConstants& constants, const std::string& path);

/// $XDG_CACHE_HOME/winnow/constants.json, or that below ~/.cache; empty without a home.
std::string default_constants_path();

}  // namespace winnow::forecast
