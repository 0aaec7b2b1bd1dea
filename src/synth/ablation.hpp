// The direction that an ablation takes out of what a module writes. Private to src/synth.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/synth/model.hpp"

namespace winnow::synth {

/// r, of length 1: the model's direction and a tenth of another in every adapter.
std::vector<double> ablated_direction(std::uint64_t seed, const std::string& adapter, std::uint64_t size);

/// rᵀ·W of the aligned weight as it is stored (in bf16).
std::vector<double> written_along(std::uint64_t seed, const Module& module, const std::vector<double>& direction);

/// [out]: the length of each row of W over that of W - r·rᵀ·W, given rᵀ·W.
std::vector<double> lost_lengths(std::uint64_t seed, const Module& module, const std::vector<double>& direction,
                                 const std::vector<double>& written);

}  // namespace winnow::synth
