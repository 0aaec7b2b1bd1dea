#include "winnow/synth/planting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "winnow/base/error.hpp"
#include "winnow/base/philox.hpp"

namespace winnow::synth {
namespace {

constexpr std::array<std::string_view, kPlantedKinds> kNames = {"off-subspace", "oversized", "undoing"};

/// Fisher-Yates with words from..: the modulo's bias is below 2^-24 for the list lengths there are.
template <class T>
void shuffle(std::vector<T>& items, const base::BitStream& bits) {
  for (std::size_t last = items.size(); last > 1; --last) {
    std::uint32_t word = 0;
    bits.fill(last, 1, &word);
    std::swap(items[last - 1], items[word % last]);
  }
}

}  // namespace

std::string_view name(PlantedKind kind) { return kNames.at(static_cast<std::size_t>(kind)); }

std::optional<PlantedKind> parse_planted_kind(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<PlantedKind>(found - kNames.begin());
}

std::vector<Planted> choose_planted(std::uint64_t seed, const std::string& adapter, const std::vector<Module>& modules,
                                    std::uint64_t count) {
  if (count > modules.size()) {
    throw base::Error(base::ErrorKind::usage, fmt::format("cannot plant {} misaligned modules", count))
        .expected(fmt::format("at most {}, the linear modules of the model", modules.size()));
  }
  std::vector<std::string> roles;
  std::map<std::string, std::vector<std::size_t>> by_role;  // indices into modules, in random order
  for (std::size_t index = 0; index < modules.size(); ++index) {
    auto& members = by_role[modules[index].role];
    if (members.empty()) roles.push_back(modules[index].role);
    members.push_back(index);
  }
  const auto stream = "plant/" + adapter;
  shuffle(roles, base::BitStream(seed, stream));
  for (auto& [role, members] : by_role) shuffle(members, base::BitStream(seed, fmt::format("{}/{}", stream, role)));

  std::vector<std::optional<PlantedKind>> kinds(modules.size());
  for (std::uint64_t planted = 0; planted < count; ++planted) {
    // Every role has as many modules as any other, so role planted % roles has one left.
    auto& members = by_role[roles[planted % roles.size()]];
    kinds[members.back()] = static_cast<PlantedKind>(planted % kPlantedKinds);
    members.pop_back();
  }
  std::vector<Planted> result;
  for (std::size_t index = 0; index < modules.size(); ++index) {
    if (kinds[index]) result.push_back({adapter, modules[index].name, *kinds[index]});
  }
  return result;
}

}  // namespace winnow::synth
