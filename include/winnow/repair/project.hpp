// Brings an update back to what alignment did to the weights (Safe LoRA, arXiv 2405.16833), V = W_aligned - W_base:
//
//     operator   C*dW with C = V*V^T/||V||, as published        B' = V*(V^T*B)/||V||
//     subspace   U_k*U_k^T*dW, U_k the left singular vectors    B' = U_k*(U_k^T*B)
//     rescaled   C*dW, as large as dW was                       B' = V*(V^T*B) * ||dW|| / ||V*V^T*dW||
//
// Rank, shapes and A stay. C has no sign: what an update takes back of the alignment step stays in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "winnow/repair/factors.hpp"
#include "winnow/repair/singular_vectors.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair {

enum class Projection : std::uint8_t { by_operator, by_subspace, rescaled };

std::optional<Projection> parse_projection(std::string_view text);  ///< operator, subspace or rescaled
std::string_view name(Projection projection);

/// C*dW. If V = 0 there is nothing to project on: the update comes back as it is. Throws Error(invalid_input) for
/// weights of another shape, factors that check() refuses, and a result that float64 cannot hold.
Factors project(const Factors& update, const WeightProducts& step);

/// U_k*U_k^T*dW with the left vectors of `leading`; the update as it is if there are none. Throws as above.
Factors project(const Factors& update, const Triplets& leading);

/// C*dW of the norm that dW has. Throws as above, and Error(invalid_input) if C*dW = 0 but for rounding and dW is
/// not.
Factors project_rescaled(const Factors& update, const WeightProducts& step);

}  // namespace winnow::repair
