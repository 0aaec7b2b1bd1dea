// What is to become of an adapter that is repaired, and what became of it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/base/error.hpp"

namespace winnow::output {

struct RepairOrder {
  std::string source, destination;               ///< directories
  std::optional<std::vector<std::string>> only;  ///< of these modules, as the adapter names them; without it of all
  std::size_t adapter = 0;                       ///< index into Inputs::adapters, for repairs that have inputs
};

/// One of the first two.
struct RepairOutcome {
  std::optional<adapter::WrittenReplacements> written = {};
  std::optional<base::Error> fault = {};  ///< why nothing was written: the adapter's own, or a weight's that it needs
  std::string remark = {};                ///< what is worth saying though it was written
};

}  // namespace winnow::output
