// Whether an audit is to stop before it is finished.
#pragma once

#include <chrono>
#include <functional>

namespace winnow::run {

struct Stopping {
  bool is_requested() const { return requested && requested(); }

  /// Asked while adapters are opened, between slabs and while waiting; may be empty. Once true on any rank, all finish
  /// the module in hand, as far as `grace` allows, and audit() throws Error(stopped) unless that was the last.
  std::function<bool()> requested;
  std::chrono::milliseconds grace{20'000};
};

}  // namespace winnow::run
