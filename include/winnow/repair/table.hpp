// The repairs by name: what each does, what it needs and which options it takes. Options and their checks, help and
// lists in errors follow this table; how a repair is computed is a file of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::repair {

enum class Kind : std::uint8_t {
  drop,
  zero,
  deflect,
  subtract,
  project,
  restore,
  extrapolate,
  unablate,
  merge,

  scale,

};

/// What a repair reads beside the adapter, as bits.
enum Need : std::uint32_t {
  kNothing = 0,
  kSelection = 1,  ///< which modules: a report, or the audit itself
  kProbes = 2,     ///< adapters of known effect, or directions of the weights
  kPair = 4,       ///< the base checkpoint and the aligned one
  kAligned = 16,   ///< the aligned checkpoint
  kAdapters = 8,   ///< other adapters of the same model
};

/// A repair, and how people ask for it.
struct Repair {
  Kind kind = Kind::drop;
  std::string_view name = {};
  std::string_view what = {};    ///< one line: what becomes of a module's update dW
  std::string_view source = {};  ///< paper, or "ours"
  std::uint32_t needs = kNothing;
  bool of_selection = false;                       ///< of the selected modules alone if there is a selection
  std::span<const std::string_view> options = {};  ///< of its own, without "--"
  std::uint64_t directions = 0;                    ///< default of --directions, if that is one of them
};

/// All of them, in the order in which people are shown them.
std::span<const Repair> repairs();

const Repair& repair_of(Kind kind);
const Repair* find_repair(std::string_view name);  ///< nullptr for an unknown one

/// Every option that some repair has of its own; and those that say where what it needs is: --probe, --report, ...
std::vector<std::string_view> own_options();
std::vector<std::string_view> input_options();
/// Whether the repair makes anything of an option.
bool takes(const Repair& repair, std::string_view option);
/// "deflect or subtract": the names of those that take the option, for an error.
std::string those_that_take(std::string_view option);
/// "drop, zero, deflect or subtract": all of them, for an error or a help text.
std::string all_names();

/// "a, b or c"
std::string listed(std::span<const std::string_view> names);

}  // namespace winnow::repair
