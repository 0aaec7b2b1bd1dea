// Partial statistics of one module: what a slab contributes, additive over row slabs and over ranks.
//
// Notation (src/methods/README.md): V = W_aligned - W_base (o x i), f = ||V||_F, an adapter's update is
// dW = s*B*A; Y = V^T*B, P = V*Y/f, D = P - B. The sketch: Omega (o x c), Z = V^T*Omega, M = V*Z.
// Everything here is a plain sum, so merge() is associative and identity() is zero.
#pragma once

#include <cstdint>
#include <vector>

#include "winnow/base/bytes.hpp"

namespace winnow::stats {

/// Sums for one adapter (rank r) on one module. Matrices are r x r, row-major; unscaled (s enters in the metrics).
struct LayerStatistics {
  std::uint64_t rank = 0;
  std::vector<double> btb;  ///< B^T B
  std::vector<double> ptp;  ///< P^T P
  std::vector<double> ptb;  ///< P^T B
  std::vector<double> dtd;  ///< D^T D
  std::vector<double> yty;  ///< Y^T Y
  std::vector<double> mtb;  ///< M^T B, c x r
  std::vector<double> zta;  ///< Z^T A^T, c x r
  std::vector<double> yta;  ///< Y^T A^T; of an operand W alone (compute/weight_sums.hpp)
  std::vector<double> mtp;  ///< M^T P, c x r; likewise, and empty of any other
  double y_a = 0;           ///< <Y, A^T> = <V, B*A>

  static LayerStatistics identity(std::uint64_t rank, std::uint64_t sketch_columns);
  void merge(const LayerStatistics& other);
};

/// Where the first weight was seen that cannot be computed with: not a finite number, or out of range
/// (compute/range.hpp). `element` counts row-major in the stored tensor.
struct UnusableWeight {
  bool found = false;
  bool in_aligned = false;  ///< in the aligned checkpoint rather than the base
  std::uint64_t element = 0;
  double value = 0;

  void merge(const UnusableWeight& other);  ///< keeps the lowest (base before aligned)
};

/// All sums of one module.
struct ModuleStatistics {
  std::uint64_t sketch_columns = 0;  ///< c, 0 without a sketch
  double squared_norm = 0;           ///< f^2 = sum of V^2
  std::vector<double> ztz;           ///< K = Z^T Z, c x c
  std::vector<double> mtm;           ///< M^T M, c x c
  UnusableWeight unusable;
  std::vector<LayerStatistics> layers;  ///< one for each adapter on this module, in the order they were stacked

  static ModuleStatistics identity(const std::vector<std::uint64_t>& ranks, std::uint64_t sketch_columns);
  void merge(const ModuleStatistics& other);  ///< same ranks and sketch

  void serialise(base::ByteWriter& out) const;
  static ModuleStatistics deserialise(base::ByteReader& in);
};

}  // namespace winnow::stats
