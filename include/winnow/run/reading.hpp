// What an audit reads.
#pragma once

#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/probes/source.hpp"

namespace winnow::run {

struct Reading {
  bool has_pair() const { return !base.empty(); }
  bool has_checkpoint() const { return !aligned.empty(); }

  std::string base, aligned;           ///< checkpoint directories; the first may be empty, and with probes both
  std::vector<probes::Source> probes;  ///< what adapters are compared with
  std::vector<std::string> adapters;   ///< adapter directories
  std::string zoo;                     ///< a directory searched for adapters, or a manifest; empty for none
  bool strict = false;                 ///< a quarantined adapter ends the run
  adapter::AdapterOptions adapter{.dense = true};
};

}  // namespace winnow::run
