// One LoRA layer as a method sees it: the sums over the weights that belong to one adapter on one module.
//
// Notation (src/methods/README.md): dW = s*B*A, G = s^2*A*A^T, V = W_aligned - W_base, f = ||V||_F, W = W_aligned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "winnow/compute/element_statistics.hpp"
#include "winnow/compute/spread.hpp"
#include "winnow/metrics/subspace.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::methods {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// The largest relative error of rounding once.
inline constexpr double kFloat32 = 0x1p-24, kTf32 = 0x1p-11;

/// What the layers of one module share.
struct ModuleFacts {
  std::uint64_t out_features = 0, in_features = 0;
  double f = 0;                                            ///< ||V||_F
  const metrics::SafetySubspace* subspace = nullptr;       ///< null without a sketch
  double roundoff = kFloat32;                              ///< of the products
  double weight_norm = kUndefined;                         ///< ||W||_F
  const stats::ModuleStatistics* weight_sketch = nullptr;  ///< of W: Z^T Z and M^T M; null without
};

/// Whether factors cancel until all that B^T*B and A*A^T (r x r, row-major) tell of ||dW||^2 is rounding: nothing that
/// is computed from them says anything of the update. Factors of zeros do not cancel.
bool cancels(std::uint64_t rank, std::span<const double> btb, std::span<const double> gram);

/// dW = factor * 2^exponent * B * A (compute::FactorStack).
struct Scale {
  double factor = 1;
  int exponent = 0;
  Scale(double all, int power_of_two = 0) : factor(all), exponent(power_of_two) {}  // NOLINT: s is one
};

/// All numbers are those of dW / 2^e, with an e such that s is within [1/2, 1): the square of a scale of 1e200, or of
/// factors of 1e30, has no place in a double. Ratios do not see it; whole() turns a norm into that of dW.

/// What is known of a layer beside its sums, if a method asks for it; null if not.
struct Beside {
  const compute::ElementStatistics* entries = nullptr;  ///< of the whole dW
  const stats::LayerStatistics* of_weight = nullptr;    ///< the sums of the sweep over W
  const compute::Spread* spread = nullptr;
};

class Layer {
 public:
  /// `gram_a` is A*A^T (r x r, unscaled). All of them must outlive this. Throws Error(runtime) if sizes differ.
  Layer(const ModuleFacts& module, const stats::LayerStatistics& sums, std::span<const double> gram_a,
        const Scale& scale, const Beside& beside = {});

  const ModuleFacts& module() const noexcept { return module_; }
  const stats::LayerStatistics& sums() const noexcept { return sums_; }
  std::span<const double> gram() const noexcept { return gram_; }  ///< G, r x r, row-major
  double scale() const noexcept { return scale_; }                 ///< s
  double whole(double norm) const;                                 ///< norm * 2^e
  double update_norm() const noexcept { return update_norm_; }     ///< ||dW||_F
  const compute::ElementStatistics* entries() const noexcept { return beside_.entries; }
  /// With H = W^T*B as Y: yty is H^T*H, yta H^T*A^T. Null without a sweep over W.
  const stats::LayerStatistics* of_weight() const noexcept { return beside_.of_weight; }
  const compute::Spread* spread() const noexcept { return beside_.spread; }

  /// <G, sums> for a matrix of sums that is positive semi-definite: below 0 only by rounding, and then 0. A sum that is
  /// not a number stays one. Throws Error(runtime) if it is not r x r.
  double inner(std::span<const double> sums) const;

 private:
  const ModuleFacts& module_;
  const stats::LayerStatistics& sums_;
  std::vector<double> gram_;
  double scale_ = 0;
  int exponent_ = 0;
  Beside beside_;
  double update_norm_ = 0;
};

}  // namespace winnow::methods
