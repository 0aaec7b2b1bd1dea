// adapter_config.json of an adapter of which some modules have another rank.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

/// A LoRA module's rank in the file that was read and in the one that is written.
struct ModuleRank {
  std::string module;
  std::uint64_t before = 0, after = 0;
};

/// `text` with the scale of every module in `modules` (all of the adapter) as it was and the ranks as they are now;
/// the same text if no rank has changed. `config` is what `text` says. Throws Error(invalid_input) for a module that
/// PEFT targets as a parameter and whose rank has changed.
std::string replaced_config(std::string_view text, const PeftConfig& config, const std::vector<ModuleRank>& modules);

}  // namespace winnow::adapter
