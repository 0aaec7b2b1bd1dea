// What alignment training did to a weight, V = W_aligned - W_base: a few leading directions above a broadband tail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "winnow/synth/model.hpp"

namespace winnow::synth {

/// Elements of W_base are near-normal with this standard deviation, so that outputs are of the size of inputs.
double base_std(const Module& module);  ///< 1/√in

/// V = U·diag(σ)·Qᵀ + T for one module.
///
/// Chosen before anything was measured on it: ‖V‖ is about 2 % of ‖W_base‖ (log-normal, 15 %), of which the k = 6
/// leading directions hold 75 % of the energy with σ_{j+1} = 0.85·σ_j, and T, independent near-normals, the rest. The
/// smallest leading σ is 0.22·‖V‖; the largest singular value of T is 0.13·‖V‖ for the smallest module of `tiny` and
/// 0.02·‖V‖ for a 4096 × 4096 one. Rounding to bf16 adds noise of about 0.16 % of ‖W_base‖, a sixth of T.
struct AlignmentStep {
  std::size_t k = 0;          ///< 6, or min(out, in) if that is less
  std::vector<double> left;   ///< U, out × k, row-major, orthonormal columns
  std::vector<double> sigma;  ///< k, descending
  std::vector<double> right;  ///< Qᵀ, k × in, row-major, orthonormal rows
  double tail_std = 0.0;      ///< of an element of T

  double norm(const Module& module) const;  ///< √(Σσ² + out·in·tail_std²)
};

/// Depends only on its arguments. Time and memory of order (out + in)·k.
AlignmentStep make_alignment_step(std::uint64_t seed, const Module& module);

/// The nominal ‖V‖, before the variation from module to module: 2 % of the nominal ‖W_base‖.
double nominal_step_norm(const Module& module);

}  // namespace winnow::synth
