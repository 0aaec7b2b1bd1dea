// What is to become of an adapter that is repaired, and what became of it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"

namespace winnow::output {

struct RepairOrder {
  std::string source, destination;               ///< directories
  std::optional<std::vector<std::string>> only;  ///< of these modules, as the adapter names them; without it of all
  std::size_t adapter = 0;                       ///< index into Inputs::adapters, for repairs that have inputs
};

std::string serialise(const std::vector<RepairOrder>& orders);
std::vector<RepairOrder> deserialise_orders(const std::string& bytes);

/// One of the first two.
struct RepairOutcome {
  std::optional<adapter::WrittenReplacements> written = {};
  std::optional<base::Error> fault = {};  ///< why nothing was written: the adapter's own, or a weight's that it needs
  bool nothing_left = false;              ///< all of its modules were to go, which is its fault
  std::string remark = {};                ///< what is worth saying though it was written

  void serialise(base::ByteWriter& out) const;
  static RepairOutcome deserialise(base::ByteReader& in);
};

}  // namespace winnow::output
