// Whether the files of an audit stayed as they were while it read them. For the coordinator alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/pipeline/inputs.hpp"

namespace winnow::pipeline {

/// Size, time of change and identity of shards and adapters, when it is made and later. A file that a training job or a
/// download still writes to shows that way; bytes that rot on the device do not.
class FileStates {
 public:
  explicit FileStates(const Inputs& inputs);

  /// Quarantines adapters that have changed since, with a warning; with `strict` throws Error(invalid_input) instead.
  /// Throws Error(runtime) for a shard.
  void quarantine_changed(Inputs& inputs, bool strict, const base::Log& log) const;

 private:
  struct State {
    std::uint64_t device = 0, file = 0, size = 0;
    std::int64_t seconds = 0, nanoseconds = 0;
    bool operator==(const State&) const = default;
  };
  static State state_of(const std::string& path);

  std::vector<State> shards_;    // those of base, then of aligned
  std::vector<State> adapters_;  // [adapters]; of quarantined ones nothing
};

}  // namespace winnow::pipeline
