// Inner products of updates with each other, from their factors alone: no weights are read.
//
//     <dW_x, dW_h> = s_x*s_h * <B_h^T*B_x, A_h*A_x^T>        2*r_x*r_h*(o + i) flops
#pragma once

#include <vector>

#include "winnow/compute/factor_stack.hpp"

namespace winnow::compute {

/// Of updates without their scales s*2^e, in float64.
struct CrossProducts {
  std::vector<double> probe_norms;          ///< [probes]: ||B_h*A_h||
  std::vector<double> norms;                ///< [adapters]: ||B_x*A_x||
  std::vector<std::vector<double>> dots;    ///< [probes][adapters]
};

/// Two stacks without a sketch on one module. The same bits whatever the number of threads.
CrossProducts cross_products(const FactorStack& probes, const FactorStack& adapters, int threads = 1);

}  // namespace winnow::compute
