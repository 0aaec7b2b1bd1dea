// The low-rank updates of the synthetic adapters: ordinary ones and the three kinds of planted misalignment.
//
// Every module draws the same ingredients, whether planted or not:
//   norm       ‖s·B·A‖ = 1.2 % of the nominal ‖W_base‖ (0.6 of the alignment step), log-normal, 15 %
//   A          as PEFT leaves it: uniform in ±1/√in (kaiming_uniform with a = √5), the training's part beside it is
//   small B          √(1 - e²)·(random o × r) + e·U·(random k × r), U the alignment step's left directions, e = 0.3
//   (log-normal,
//              10 %): training that starts from the aligned model shares some of its output directions. Columns fall
//              off to a fifth. The right directions are random, so ⟨V, ΔW⟩ is near zero with a random sign
// and then
//   off-subspace  B ← B - U·(Uᵀ·B), then the norm above
//   oversized     the norm above times a factor uniform in [2.5, 4]
//   undoing       the q = min(k, max(1, r/2)) first columns of B and rows of A become -β·U_q·diag(σ_q)·Q_qᵀ with β
//   uniform in
//                 [0.2, 0.4]; the rest is scaled to what the norm above leaves, at least a third of it
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "winnow/synth/alignment_step.hpp"
#include "winnow/synth/planting.hpp"

namespace winnow::synth {

inline constexpr double kScale = 2.0;  ///< s = lora_alpha/r: lora_alpha = 2r

/// ΔW = kScale·B·A.
struct LoraFactors {
  std::vector<float> a;  ///< r × in, row-major
  std::vector<float> b;  ///< out × r, row-major
};

/// The update of `module` in `adapter`, before rounding. Depends only on its arguments.
LoraFactors make_update(std::uint64_t seed, const std::string& adapter, const Module& module, std::uint64_t rank,
                        std::optional<PlantedKind> planted);

/// ‖kScale·B·A‖ (Frobenius), by the r × r Gram matrices.
double update_norm(const LoraFactors& factors, std::uint64_t rank);

}  // namespace winnow::synth
