// A module shared by the ranks of a team, each with the slabs of some of its stored rows.
//
//     stored rows are outputs             stored rows are inputs (GPT-2's Conv1D)
//     pass 1   Y   every member a part of each sum: add up       its own rows
//     pass 2   P   its own rows                                  a part of each sum: add up
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "winnow/compute/factor_stack.hpp"

namespace winnow::compute {

/// The rows of B and P, and of Y, that count towards this rank's statistics. Over a team they are all rows, once.
struct Share {
  std::uint64_t out_begin = 0, out_end = 0, in_begin = 0, in_end = 0;

  static Share whole(const FactorStack& stack) { return {0, stack.out_features, 0, stack.in_features}; }
};

/// Values in the memory of a device, which come to be in the order of its stream.
struct DeviceArray {
  void* values = nullptr;
  std::uint64_t count = 0;
  bool is_double = false;          ///< else float
  void* stream = nullptr;          ///< cudaStream_t
  std::function<bool()> finished;  ///< whether the stream has come to its end
};

/// All-reduces over the team.
class TeamSums {
 public:
  virtual ~TeamSums() = default;
  virtual void sum(std::span<float> values) = 0;
  virtual void sum(std::span<double> values) = 0;
  /// In the device's own memory, done on return. False, and nothing done, if this team sums in host memory only:
  /// the same for all its members, always.
  virtual bool sum_on_device(const DeviceArray& /*array*/) { return false; }
};

}  // namespace winnow::compute
