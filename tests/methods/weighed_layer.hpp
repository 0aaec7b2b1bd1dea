// A layer whose W and dW are formed densely, and its values by every method that reads W.
#pragma once

#include <Eigen/SVD>
#include <random>

#include "methods/layer_values.hpp"
#include "metrics/dense.hpp"

namespace winnow::test {

struct WeighedLayer {
  Matrix w, a, b;
  double scale = 1;

  Matrix update() const { return scale * b * a; }

  LayerValues values() const {
    const Matrix h = w.transpose() * b;
    stats::LayerStatistics sums;
    sums.rank = static_cast<std::uint64_t>(b.cols());
    sums.btb = row_major(b.transpose() * b);
    sums.yty = row_major(h.transpose() * h);
    sums.yta = row_major(h.transpose() * a.transpose());
    sums.y_a = (h.transpose() * a.transpose()).trace();
    // What reads V finds none.
    auto of_pair = sums;
    of_pair.ptp = of_pair.ptb = of_pair.dtd = of_pair.yty =
        std::vector<double>(sums.rank * sums.rank, methods::kUndefined);
    return {of_pair,
            row_major(a * a.transpose()),
            scale,
            static_cast<std::uint64_t>(w.rows()),
            static_cast<std::uint64_t>(w.cols()),
            methods::kUndefined,
            nullptr,
            &sums,
            w.norm()};
  }

  /// omega from singular vectors of the dense update.
  double ablation() const {
    const Eigen::JacobiSVD<Matrix> svd(update(), Eigen::ComputeThinU | Eigen::ComputeThinV);
    double most = 0;
    for (Eigen::Index j = 0; j < svd.singularValues().size(); ++j) {
      if (svd.singularValues()[j] < 0.01 * update().norm()) continue;
      const Eigen::VectorXd written = w.transpose() * svd.matrixU().col(j);
      most = std::max(most, -written.dot(svd.matrixV().col(j)) / written.norm());
    }
    return most;
  }
};

inline WeighedLayer weighed_layer(std::mt19937_64& random, double scale = 1, Eigen::Index out = 24,
                                  Eigen::Index in = 32, Eigen::Index rank = 5) {
  return {gaussian(random, out, in), gaussian(random, rank, in), gaussian(random, out, rank), scale};
}

/// Takes a direction of the outputs out of W, as an adapter of rank 1 with `share` of the step.
inline void ablate(WeighedLayer& layer, const Matrix& direction, double share) {
  const Matrix unit = direction / direction.norm();
  layer.b = -share * unit;
  layer.a = unit.transpose() * layer.w;
}

}  // namespace winnow::test
