// A module's weights in memory, and their products with a few columns: what repairs by weights are made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/slab/slab.hpp"

namespace winnow::repair {

/// A matrix D (o x i) as it is stored: a direction of the weights, the weight W itself, or with a base
/// V = W_aligned - W_base.
struct StoredWeights {
  std::uint64_t out_features = 0, in_features = 0;
  bool stored_transposed = false;  ///< the rows of `stored` are those of D^T
  slab::Slab stored;               ///< all of its rows
};

/// What an error calls it.
struct WeightNames {
  std::string tensor, base_file, aligned_file;  ///< the last is that of a matrix without a base as well
};

/// Products with D in float64, formed tile by tile from the stored bits: V is exact, and D*D^T is never formed. The
/// same bits whatever the number of threads.
class WeightProducts {
 public:
  /// What `weights` points to must outlive it. One sweep. Throws Error(invalid_input) for a weight that is not finite
  /// or out of range (compute/range.hpp).
  WeightProducts(const StoredWeights& weights, int threads, WeightNames names);

  std::uint64_t out_features() const noexcept { return weights_.out_features; }
  std::uint64_t in_features() const noexcept { return weights_.in_features; }
  const std::string& name() const noexcept { return names_.tensor; }
  double norm() const noexcept { return norm_; }  ///< ||D||, Frobenius

  /// D^T*B (i x columns) of B (o x columns) and D*Y (o x columns) of Y (i x columns), row-major. 2*o*i*columns flops
  /// each. Throws Error(invalid_input) for a matrix of the wrong size.
  std::vector<double> times_outputs(std::span<const double> b, std::uint64_t columns) const;
  std::vector<double> times_inputs(std::span<const double> y, std::uint64_t columns) const;

 private:
  std::vector<double> times_rows(std::span<const double> x, std::uint64_t columns) const;
  std::vector<double> times_columns(std::span<const double> x, std::uint64_t columns) const;
  void check_usable(double squared_norm) const;

  StoredWeights weights_;
  int threads_;
  WeightNames names_;
  double norm_ = 0;
};

}  // namespace winnow::repair
