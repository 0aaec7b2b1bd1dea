#include "winnow/repair/table.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace winnow::repair {
namespace {

constexpr std::array<std::string_view, 3> kDeflect{"side", "directions", "lambda"};
constexpr std::array<std::string_view, 1> kSubtract{"lambda"};
constexpr std::array<std::string_view, 2> kProject{"project-by", "directions"};
constexpr std::array<std::string_view, 1> kRestore{"directions"};
constexpr std::array<std::string_view, 2> kExtrapolate{"directions", "lambda"};
constexpr std::array<std::string_view, 1> kUnablate{"threshold"};
constexpr std::array<std::string_view, 2> kMerge{"with", "weights"};
constexpr std::array<std::string_view, 1> kScale{"factor"};

constexpr std::array kRepairs{
    Repair{.kind = Kind::drop,
           .name = "drop",
           .what = "removes A and B",
           .source = "SPLoRA, arXiv 2506.18931",
           .needs = kSelection,
           .of_selection = true},
    Repair{.kind = Kind::zero,
           .name = "zero",
           .what = "B = 0, shapes stay",
           .source = "SPLoRA, arXiv 2506.18931",
           .needs = kSelection,
           .of_selection = true},
    Repair{.kind = Kind::deflect,
           .name = "deflect",
           .what = "takes out what runs along the probes' leading directions",
           .source = "ours",
           .needs = kProbes,
           .options = kDeflect,
           .directions = 4},
    Repair{.kind = Kind::subtract,
           .name = "subtract",
           .what = "takes out the probes themselves",
           .source = "task arithmetic, arXiv 2212.04089",
           .needs = kProbes,
           .options = kSubtract},
    Repair{.kind = Kind::project,
           .name = "project",
           .what = "C*dW with C = V*V^T/|V|, or as --project-by says",
           .source = "Safe LoRA, arXiv 2405.16833",
           .needs = kPair,
           .of_selection = true,
           .options = kProject,
           .directions = 6},
    Repair{.kind = Kind::restore,
           .name = "restore",
           .what = "takes out what goes back along the leading directions of V",
           .source = "ours",
           .needs = kPair,
           .of_selection = true,
           .options = kRestore,
           .directions = 6},
    Repair{.kind = Kind::extrapolate,
           .name = "extrapolate",
           .what = "dW + lambda * the leading part of V",
           .source = "LoX, arXiv 2506.15606",
           .needs = kPair,
           .of_selection = true,
           .options = kExtrapolate,
           .directions = 6},
    Repair{.kind = Kind::unablate,
           .name = "unablate",
           .what = "takes out directions along which dW writes against the weight W",
           .source = "ours, of refusal directions as in arXiv 2406.11717",
           .needs = kAligned,
           .of_selection = true,
           .options = kUnablate},
    Repair{.kind = Kind::merge,
           .name = "merge",
           .what = "the weighted sum with other adapters, such as safe ones",
           .source = "SafeMERGE, arXiv 2503.17239",
           .needs = kAdapters,
           .of_selection = true,
           .options = kMerge},
    Repair{.kind = Kind::scale,
           .name = "scale",
           .what = "dW * factor: what any other repair is to be compared with",
           .source = "ours",
           .of_selection = true,
           .options = kScale},
};

/// The options that say where what a repair needs is to be found.
constexpr std::array kOfNeeds{std::pair{kProbes, std::string_view("probe")},
                              std::pair{kProbes, std::string_view("direction")},
                              std::pair{kPair, std::string_view("base")}, std::pair{kPair, std::string_view("aligned")},
                              std::pair{kAligned, std::string_view("aligned")}};
constexpr std::array<std::string_view, 3> kOfSelection{"report", "select", "rank-by"};

bool holds(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::span<const Repair> repairs() { return kRepairs; }

const Repair& repair_of(Kind kind) { return kRepairs[static_cast<std::size_t>(kind)]; }

const Repair* find_repair(std::string_view name) {
  const auto* const found =
      std::find_if(kRepairs.begin(), kRepairs.end(), [&](const auto& repair) { return repair.name == name; });
  return found == kRepairs.end() ? nullptr : found;
}

std::vector<std::string_view> own_options() {
  std::vector<std::string_view> all;
  for (const auto& repair : kRepairs) {
    for (const auto option : repair.options) {
      if (!holds(all, option)) all.push_back(option);
    }
  }
  return all;
}

std::vector<std::string_view> input_options() {
  std::vector<std::string_view> all(kOfSelection.begin(), kOfSelection.end());
  for (const auto& [need, option] : kOfNeeds) {
    if (!holds(all, option)) all.push_back(option);
  }
  return all;
}

bool takes(const Repair& repair, std::string_view option) {
  if (holds(repair.options, option)) return true;
  if (repair.of_selection && holds(kOfSelection, option)) return true;
  return std::any_of(kOfNeeds.begin(), kOfNeeds.end(),
                     [&](const auto& one) { return one.second == option && (repair.needs & one.first) != 0; });
}

std::string listed(std::span<const std::string_view> names) {
  std::string text;
  for (std::size_t n = 0; n < names.size(); ++n) {
    if (n > 0) text += n + 1 == names.size() ? " or " : ", ";
    text += names[n];
  }
  return text;
}

std::string those_that_take(std::string_view option) {
  std::vector<std::string_view> names;
  for (const auto& repair : kRepairs) {
    if (takes(repair, option)) names.push_back(repair.name);
  }
  return listed(names);
}

std::string all_names() {
  std::vector<std::string_view> names;
  for (const auto& repair : kRepairs) names.push_back(repair.name);
  return listed(names);
}

}  // namespace winnow::repair
