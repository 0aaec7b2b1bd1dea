// The alignment pass: what winnow exists for. For all adapters stacked on one module at once,
//
//     pass 1   Y = V^T * B   (i x R), f^2 = sum V^2
//     pass 2   P = V * Y / f (o x R); the sketch columns stay undivided: M = V * Z
//
//     along    <V, dW> and f^2 alone, in one sweep: all that is asked of a direction
//     left     the same and Y, in one sweep: what is asked of the weight W itself
//     right    P = V * A^T (o x R) alone, in one sweep, likewise
//
// with V = W_aligned - W_base, or a direction from a file, formed from the stored bits, slab by slab. Neither V*V^T (o
// x o) nor dW (o x i) is ever formed, and W_aligned^T B - W_base^T B never computed: it cancels. 4*o*i*R flops
// (src/methods/README.md).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "winnow/compute/device.hpp"
#include "winnow/compute/element_statistics.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/team.hpp"
#include "winnow/slab/pair_digest.hpp"
#include "winnow/slab/slab.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::compute {

/// How an operand is stored, and what is asked of it.
struct Operand {
  bool stored_transposed = false;  ///< slabs are rows of V^T (i x o)
  bool along = false;    ///< only f^2, <V, dW> and B^T B: the other sums of finish() are zeros. There is no pass 2 then
  bool keeps_y = false;  ///< of one that is `along`: y() is asked for
  /// Of one that is `along`: P = V*A^T is formed instead of Y, and p() asked for. Of all sums finish() then has f^2
  /// alone.
  bool keeps_p = false;
};

/// One backend on one device. Used for one module after the other:
///
///     begin(stack, operand, share)
///     pass1(slab) for each slab in row order; in a team reduce_pass1()
///     pass2(slab) for each slab in row order; in a team reduce_pass2()      unless operand.along
///     finish()
///
/// Results depend on the slabs alone, bit for bit: not on threads, ranks or what was computed before. Those of a team
/// also depend on its size. Which weights are found unusable does not depend on the backend either (range.hpp).
class AlignmentPass {
 public:
  virtual ~AlignmentPass() = default;

  /// `stack` must outlive finish() and y(), and have no sketch if operand.along.
  virtual void begin(const FactorStack& stack, const Operand& operand, const Share& share) = 0;
  /// From now on, until it is told otherwise: a backend that has the stored rows in a cache in one of the two passes
  /// adds them to `digest` on its way, if that costs little. Those it leaves out are the caller's to add. Null:
  /// none.
  void digest_into(slab::PairDigest* digest) { digest_ = digest; }
  void begin(const FactorStack& stack, const Operand& operand) { begin(stack, operand, Share::whole(stack)); }
  virtual void pass1(const slab::Slab& slab) = 0;
  /// Makes Y and f^2 those of the whole module: every member has seen its rows only. Throws only what `team` throws.
  virtual void reduce_pass1(TeamSums& team) = 0;
  virtual void pass2(const slab::Slab& slab) = 0;
  /// Likewise P, if every member has seen a part of each of its sums (weights stored transposed).
  virtual void reduce_pass2(TeamSums& team) = 0;
  /// Once all slabs of this module were given to pass1(): announces the first slabs of the next module, in row order,
  /// to be copied behind the computation's back. Returns at once, with whether the slab was taken; one that was not may
  /// be offered again. What was taken must stay as it is in memory until pass1() has been given that very slab, or
  /// drop_preloaded() been called. Changes no result.
  virtual bool preload(const slab::Slab& /*slab*/) { return false; }
  /// Slabs that were taken and not given to pass1() yet never come: returns once their memory may change.
  virtual void drop_preloaded() noexcept {}
  /// Waits for all that was begun, so that its errors are thrown here and not within a team's collective.
  virtual void complete() {}
  /// Sums over the rows of this share; f^2 is that of the whole module.
  virtual stats::ModuleStatistics finish() = 0;
  /// After finish() of one that is `along`: f says that a weight may be unusable, and which one was not looked for,
  /// since a device knows f when the slabs are gone. find_unusable() of each slab, read again, tells.
  virtual bool must_look() const { return false; }
  /// After finish(): makes `mine` those of the whole module on every member, if the device can; else false on all.
  virtual bool reduce_statistics(TeamSums& /*team*/, stats::ModuleStatistics& /*mine*/) { return false; }

  /// Of adapter j, after finish(): Y = V^T*B (i x r) and P = V*Y/f, or V*A^T, (o x r), row-major. Rows beyond this
  /// share are those of the whole module if the team has added them up, and 0 if not.
  virtual std::vector<double> y(std::size_t adapter) const = 0;
  virtual std::vector<double> p(std::size_t adapter) const = 0;

  /// For each adapter of the stack; after finish(), of a whole module.
  /// `between`, if any, is called on this thread before each adapter it takes: it may throw, which ends the work.
  virtual std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) = 0;
  std::vector<ElementStatistics> element_statistics() { return element_statistics({}); }

  virtual std::string description() const = 0;      ///< backend, device, library version: for the report
  virtual PassDevice* device() { return nullptr; }  ///< the one it computes on, if not the processor

 protected:
  slab::PairDigest* digest() const noexcept { return digest_; }

 private:
  slab::PairDigest* digest_ = nullptr;
};

struct PassOptions {
  Backend backend = Backend::cpu;
  Device device = Device::cpu;
  int threads = 1;    ///< compute threads at most
  int node_rank = 0;  ///< among the ranks of this machine, which share its devices in turn
  Precision precision = Precision::float32;
  std::uint64_t device_memory = 0;  ///< bytes; 0: 80 % of what is free
};

/// Nothing in the options may be automatic. Throws Error(runtime) if the backend cannot run here.
std::unique_ptr<AlignmentPass> make_alignment_pass(const PassOptions& options);
/// The same with defaults.
std::unique_ptr<AlignmentPass> make_alignment_pass(Backend backend, Device device, int threads);

}  // namespace winnow::compute
