// Takes out of an update the directions that it ablates: those along which what it writes is opposed to what the weight
// W writes there (directional ablation, "abliteration": dW = -lambda*r*r^T*W, arXiv 2406.11717).
//
//     omega(u) = -cos(u^T*dW, u^T*W),   dW <- (I - u*u^T)*dW for the u of the largest omega, while that is above a
//     threshold
//
// over all u in the span of the left singular vectors of dW with a singular value of 1 % of ||dW|| or more, as the
// metric ablation (metrics/opposition.hpp). For a singular vector this drops its triplet; an ablation that is spread
// over several of them, as one is that is hidden among directions of the same size, is taken out whole.
#pragma once

#include "winnow/repair/factors.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair {

/// B' = (I - Q*Q^T)*B, Q the directions taken out, at most r; rank, shapes and A stay, and so does an update with none.
/// Zeros if nothing is left of it but rounding. `weight` is W, of which one product with the left singular vectors
/// is formed. Throws Error(usage) for a threshold outside (0, 1); Error(invalid_input) for weights of another shape and
/// factors that check() refuses.
Factors unablate(const Factors& update, const WeightProducts& weight, double threshold);

}  // namespace winnow::repair
