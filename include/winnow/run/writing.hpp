// What an audit writes.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/module_repair.hpp"

namespace winnow::run {

/// Once all is scored.
struct Writing {
  bool repairs() const { return repair || module_repair; }

  std::string report;                              ///< HDF5 file to write; empty for none
  std::map<std::string, report::Attribute> facts;  ///< further attributes of the report: versions, command line
  bool slice = false;  ///< of a zoo that is merged later: that nothing could be scored is no error

  std::optional<adapter::Repair> repair;      ///< write adapters without what is selected
  std::optional<ModuleRepair> module_repair;  ///< or with new factors; one of the two at most
  std::string repaired_dir;                   ///< below it, one directory an adapter
};

/// For later runs.
struct Journalling {
  std::string directory;  ///< for modules as they are finished; empty for none
  bool resume = false;    ///< go on with what is journalled there
  std::string cache;      ///< directory for scores by content; empty for none
};

}  // namespace winnow::run
