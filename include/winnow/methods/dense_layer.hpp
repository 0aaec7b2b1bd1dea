// An update that is dense, as a method sees it: inner products of its entries (compute/dense_sums.hpp).
#pragma once

#include "winnow/methods/layer.hpp"

namespace winnow::methods {

struct DenseLayer {
  double norm = 0;                  ///< ||dW||
  double weight_norm = kUndefined;  ///< ||W||
  double with_weight = 0;           ///< <W, dW>
  double f = kUndefined;            ///< ||V||; undefined without a base
  double with_step = 0;             ///< <V, dW>
};

}  // namespace winnow::methods
