// What a backend does for an alignment pass: products of a stored tensor with skinny matrices, and sums over these.
// Which of them make a pass, SweepPass knows. Private to src/compute.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// The matrices of a module, R columns each: those of the adapters side by side, then the sketch's.
enum class Skinny : std::uint8_t {
  b,  ///< o x R, the stack's
  y,  ///< i x R
  p,  ///< o x R
};

/// The one of a backend's three that is meant.
template <class Matrix>
Matrix& pick(Skinny which, Matrix& b, Matrix& y, Matrix& p) {
  return which == Skinny::b ? b : which == Skinny::y ? y : p;
}

/// What is made of a module.
struct Sweeps {
  Operand operand;
  Share share;
  /// Y holds A^T from the beginning, for P = V * A^T: because that is asked for, or only <V, dW> is and this is faster.
  bool turned = false;
};

/// One product of a slab of S, the stored difference or tensor.
struct Product {
  Skinny x, out;
  bool by_rows = false;                ///< out[the slab's rows] = S * x; else out += S^T * x[the slab's rows]
  int sweep = 1;                       ///< the first or the second time that this module's slabs go by
  slab::PairDigest* digest = nullptr;  ///< takes what is in a cache while it is multiplied; may leave out anything
};

/// One backend on one device, used for one module after the other. Results depend on the slabs alone, bit for bit.
class Primitives {
 public:
  virtual ~Primitives() = default;

  /// Y, unless it is turned, and P are zeros from here on; `stack` outlives all calls for this module.
  virtual void begin(const FactorStack& stack, const Sweeps& sweeps) = 0;

  /// Slabs are not empty. The sum of squares of S, if it is known already; else squared_norm() has it later.
  virtual std::optional<double> multiply(const slab::Slab& slab, const Product& product) = 0;
  /// Of all slabs of the first sweep so far, if multiply() did not say. Waits for it.
  virtual double squared_norm() { return 0; }

  /// All-reduce over the team. Throws only what `team` throws.
  virtual void add_up(TeamSums& team, Skinny matrix) = 0;

  /// Divides P by f, but for the sketch.
  virtual void divide_p(double f) = 0;
  /// Adds all of stats::ModuleStatistics but f^2 and what cannot be used, over the rows of the share.
  virtual void gram_sums(stats::ModuleStatistics& statistics) = 0;
  /// Makes these sums the whole team's on every member, if the device can; else false on all.
  virtual bool add_up_gram_sums(TeamSums& /*team*/, stats::ModuleStatistics& /*mine*/) { return false; }

  /// Of adapter j, rows x r, row-major.
  virtual std::vector<double> columns_of(Skinny matrix, std::size_t adapter) const = 0;
  virtual std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) = 0;

  /// Whether S * A^T is formed faster than S^T * B, if one of them is enough and S is stored straight.
  virtual bool turns() const { return false; }

  // See AlignmentPass.
  virtual bool preload(const slab::Slab& /*slab*/) { return false; }
  virtual void drop_preloaded() noexcept {}
  virtual void complete() {}
  virtual std::string description() const = 0;
  virtual PassDevice* device() { return nullptr; }
};

}  // namespace winnow::compute
