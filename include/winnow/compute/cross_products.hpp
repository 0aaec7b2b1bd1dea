// Inner products of updates with each other, from their factors alone: no weights are read.
//
//     <dW_x, dW_h> = s_x*s_h * <B_h^T*B_x, A_h*A_x^T>        2*r_x*r_h*(o + i) flops
//
// The part of an attention head is the same with the rows of B_h and B_x that make it (q, k, v), or the columns of A_h
// and A_x that read it (o).
//
// All in float64 and of updates without their scales s*2^e.
#pragma once

#include <memory>
#include <vector>

#include "winnow/checkpoint/attention_heads.hpp"
#include "winnow/compute/factor_stack.hpp"

namespace winnow::compute {

/// What is known of one update beside others.
struct UpdateProducts {
  std::vector<double> btb, gram_a;  ///< its own B^T*B and A*A^T, r x r
  std::vector<double> dots;         ///< [probes]: <B_x*A_x, B_h*A_h>
  std::vector<double> blocks;       ///< [probes]: ||U_k^T*B_x*A_x*V_k|| (leading_block.hpp)
  std::vector<double> heads = {};   ///< [probes][heads]: of each dot the parts of attention heads; they add up to it

  double norm() const;  ///< ||B_x*A_x||
};

/// The probes of one module, ready to be compared with any number of updates.
class ProbeFactors {
 public:
  /// A stack without a sketch. `heads`: of the module, none if they are not asked for.
  explicit ProbeFactors(const FactorStack& probes, const checkpoint::HeadRanges& heads = {});
  ~ProbeFactors();
  ProbeFactors(ProbeFactors&&) noexcept;
  ProbeFactors& operator=(ProbeFactors&&) noexcept;

  const std::vector<double>& norms() const;  ///< [probes]: ||B_h*A_h||

  /// Of an update that is dense, given B_h^T*dW*A_h^T of probe h, r_h x r_h: <B_h*A_h, dW> and ||U_k^T*dW*V_k||.
  struct DenseProducts {
    double dot = 0, block = 0;
  };
  DenseProducts with_dense(std::size_t h, const std::vector<double>& between) const;

  /// Of adapter j of a stack on the same module. May be called by several threads at once.
  UpdateProducts with(const FactorStack& stack, std::size_t j) const;

 private:
  struct Sides;
  std::unique_ptr<Sides> sides_;
};

}  // namespace winnow::compute
