// Which modules are misaligned, and how.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/synth/model.hpp"

namespace winnow::synth {

/// The three kinds of planted misalignment; none is defined by a metric that is to find it. update.hpp has the recipes.
enum class PlantedKind : std::uint8_t {
  off_subspace,  ///< no component along V's leading directions, norm as in its peers
  oversized,     ///< norm well above its peers, direction ordinary
  undoing,       ///< a low-rank part of -V: takes alignment back; norm as in its peers
};
inline constexpr std::size_t kPlantedKinds = 3;
std::string_view name(PlantedKind kind);  ///< "off-subspace", "oversized", "undoing"
std::optional<PlantedKind> parse_planted_kind(std::string_view name);

/// What truth.json says of one planted module.
struct Planted {
  std::string adapter, module;
  PlantedKind kind = PlantedKind::off_subspace;
  bool operator==(const Planted&) const = default;
};

/// Chooses `count` of the modules for `adapter`: kinds in turn, roles in turn (in a random order), a random layer each,
/// so that every role keeps as many ordinary peers as can be and two of one role are of different kinds.
/// Sorted as `modules` is. Throws Error(usage) if count > modules.size().
std::vector<Planted> choose_planted(std::uint64_t seed, const std::string& adapter, const std::vector<Module>& modules,
                                    std::uint64_t count);

}  // namespace winnow::synth
