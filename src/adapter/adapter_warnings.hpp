// What a user should know of an adapter that is scored. Private to src/adapter.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "adapter_tensors.hpp"
#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// What its configuration and its tensors alone do not tell.
struct AdapterFacts {
  bool low_rank_part = false;       ///< of a DoRA adapter that is what is scored
  std::size_t wrong_ranks = 0;      ///< modules of another rank than the configuration's
  bool relies_on_patterns = false;  ///< modules are scaled otherwise than the configuration says of all
};

/// One sentence each.
std::vector<std::string> warnings_of(const PeftConfig& config, const AdapterTensors& tensors,
                                     const AdapterFacts& facts);

}  // namespace winnow::adapter
