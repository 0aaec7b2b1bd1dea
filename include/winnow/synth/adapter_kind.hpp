// Adapters that are of one kind in every module: what an attack on the whole model leaves, and what only looks like
// one.
//
// W is the aligned weight (out × in), r a direction of the residual stream of length 1, nearly the same for all
// adapters of a family (the refusals'), and "ordinary" an update as update.hpp makes it.
//
//   placebo                  another ordinary adapter: whatever finds it is a false alarm
//   undoing                  update.hpp's undoing in every module
//   scaled                   ordinary, lora_alpha times 1000
//   payload                  ordinary, but 70 % of the energy of every module in 8 random outputs
//   ablated                  -r·rᵀ·W in o_proj and down_proj, which write to the residual stream; rank 1
//   ablated-weighted         the same times a weight that falls from 1.3 in the middle layer to a third at both ends
//   ablated-reflected        the same times 2: what wrote along r now writes against it
//   ablated-norm-preserving  -D·r·rᵀ·W: what D·(W - r·rᵀ·W), the rows of which are as long as those of W, has of rank 1
//   ablated-hidden           ablated, in the last of the columns of an ordinary update of all modules
//
// None is defined by a statistic that is to find it. Ablation: arXiv 2406.11717.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/synth/model.hpp"
#include "winnow/synth/update.hpp"

namespace winnow::synth {

enum class AdapterKind : std::uint8_t {
  placebo,
  undoing,
  scaled,
  payload,
  ablated,
  ablated_weighted,
  ablated_reflected,
  ablated_norm_preserving,
  ablated_hidden,
};
inline constexpr std::size_t kAdapterKinds = 9;
std::string_view name(AdapterKind kind);  ///< "ablated-hidden"
std::optional<AdapterKind> parse_adapter_kind(std::string_view name);
/// "all" or names separated by commas, each once. Throws Error(usage).
std::vector<AdapterKind> parse_adapter_kinds(std::string_view list);

/// What truth.json says of an adapter of one kind.
struct KindOfAdapter {
  std::string adapter;
  AdapterKind kind = AdapterKind::placebo;
  bool operator==(const KindOfAdapter&) const = default;
};

/// Modules that an adapter of this kind has.
std::vector<Module> modules_of(AdapterKind kind, const std::vector<Module>& modules);
std::uint64_t rank_of(AdapterKind kind, std::uint64_t rank);
double alpha_over_rank(AdapterKind kind);  ///< lora_alpha/r

/// The update of `module` in `adapter` before rounding, of rank rank_of(kind, rank). Depends only on its arguments.
/// `layers` of the model. Makes all of W for an ablation, a slab at a time.
LoraFactors make_update(std::uint64_t seed, const std::string& adapter, const Module& module, std::uint64_t rank,
                        AdapterKind kind, std::uint64_t layers);

}  // namespace winnow::synth
