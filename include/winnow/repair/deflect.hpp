// Takes out of an update what runs along given directions.
//
//     block   dW - lambda * U U^T dW V V^T    rank grows by the rank of U^T dW V at most
//     left    (I - lambda * U U^T) dW         B' = B - lambda * U (U^T B): rank, shapes and A stay
//     right   dW (I - lambda * V V^T)         A' = A - lambda * (A V) V^T: rank, shapes and B stay
//
// with U (o x k) and V (i x k) the leading singular vectors of an update whose effect is known.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "winnow/repair/factors.hpp"
#include "winnow/repair/singular_vectors.hpp"

namespace winnow::repair {

enum class Side : std::uint8_t { block, left, right };

std::optional<Side> parse_side(std::string_view text);
std::string_view name(Side side);

inline constexpr double kMostStrength = 100;          ///< of lambda
inline constexpr std::uint64_t kMostDirections = 64;  ///< of k, for each probe

/// Of the scale of `update`. What is not touched, as the columns there were if `block` only adds some, stays bit for
/// bit; all of the update if it has nothing along `along`. Otherwise the rank with block is the smallest that
/// holds the result (of_smallest_rank): at most r + k, out_features and in_features, and 0 if all is taken out.
/// Throws Error(usage) for a lambda outside (0, 100]; Error(invalid_input) for a subspace of another shape, factors
/// that check() refuses, and a result that float64 cannot hold.
Factors deflect(const Factors& update, const Subspace& along, Side side, double lambda);

}  // namespace winnow::repair
