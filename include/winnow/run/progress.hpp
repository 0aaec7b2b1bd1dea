// How far an audit has come.
#pragma once

#include <cstdint>

namespace winnow::run {

/// Work done so far by this rank, of its own share.
struct Progress {
  std::uint64_t modules_done = 0, modules = 0;
  std::uint64_t bytes_done = 0, bytes = 0;  ///< of weights, counted once for both passes; of adapters if none are read
};

}  // namespace winnow::run
