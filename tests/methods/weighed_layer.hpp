// A layer whose W and dW are formed densely, and its values by every method that reads W.
#pragma once

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <random>

#include "methods/layer_values.hpp"
#include "metrics/dense.hpp"
#include "svd.hpp"

namespace winnow::test {

struct WeighedLayer {
  Matrix w, a, b;
  double scale = 1;
  bool sketched = true;
  std::uint64_t sketch_seed = 1;

  Matrix update() const { return scale * b * a; }

  LayerValues values() const {
    const Matrix h = w.transpose() * b;
    stats::LayerStatistics sums;
    sums.rank = static_cast<std::uint64_t>(b.cols());
    sums.btb = row_major(b.transpose() * b);
    sums.yty = row_major(h.transpose() * h);
    sums.yta = row_major(h.transpose() * a.transpose());
    sums.y_a = (h.transpose() * a.transpose()).trace();
    const Matrix k = w * a.transpose();
    sums.ptp = row_major(k.transpose() * k);
    sums.ptb = row_major(k.transpose() * b);
    std::mt19937_64 random(sketch_seed);
    const auto columns = std::min(Eigen::Index{48}, 2 * std::min(w.rows(), w.cols()));
    const Matrix z = w.transpose() * gaussian(random, w.rows(), columns), m = w * z;
    sums.mtp = row_major(m.transpose() * k);
    sums.mtb = row_major(m.transpose() * b);
    sums.zta = row_major(z.transpose() * a.transpose());
    stats::ModuleStatistics sketch;
    sketch.sketch_columns = static_cast<std::uint64_t>(columns);
    sketch.ztz = row_major(z.transpose() * z);
    sketch.mtm = row_major(m.transpose() * m);
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
            w.norm(),
            sketched ? &sketch : nullptr};
  }

  /// The left singular vectors of the dense update that count.
  Matrix left() const {
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(update(), Eigen::ComputeThinU | Eigen::ComputeThinV);
    Eigen::Index kept = 0;
    while (kept < svd.singularValues().size() && svd.singularValues()[kept] >= 0.01 * update().norm()) ++kept;
    return svd.matrixU().leftCols(kept);
  }

  double opposition(const Eigen::VectorXd& u) const {
    const Eigen::VectorXd change = update().transpose() * u, written = w.transpose() * u;
    return -change.dot(written) / change.norm() / written.norm();
  }

  /// Of the singular vectors alone.
  double singular_ablation() const {
    const Matrix u = left();
    double most = 0;
    for (Eigen::Index j = 0; j < u.cols(); ++j) most = std::max(most, opposition(u.col(j)));
    return most;
  }

  /// Over their span: 1 - cos^2 is the smallest generalised eigenvalue of |dW^T*u + l*W^T*u|^2 over |dW^T*u|^2, for the
  /// best l. By a fine grid of l and a golden section.
  double ablation() const {
    const Matrix u = left(), change = u.transpose() * update(), written = u.transpose() * w;
    const Matrix energy = change * change.transpose();
    const auto least = [&](double l) {
      const Matrix sum = change + std::exp(l) * written;
      const Eigen::GeneralizedSelfAdjointEigenSolver<Matrix> solver(sum * sum.transpose(), energy,
                                                                    Eigen::EigenvaluesOnly);
      return solver.eigenvalues()[0];
    };
    const double middle = std::log(update().norm() / w.norm());
    constexpr double kReach = 9, kStep = 0.01;
    double best = middle - kReach;
    for (double l = best; l < middle + kReach; l += kStep) {
      if (least(l) < least(best)) best = l;
    }
    double low = best - kStep, high = best + kStep;
    const double ratio = (std::sqrt(5.0) - 1) / 2;
    for (int step = 0; step < 60; ++step) {
      const double left_of = high - ratio * (high - low), right_of = low + ratio * (high - low);
      const bool falls = least(left_of) < least(right_of);
      (falls ? high : low) = falls ? right_of : left_of;
    }
    return std::sqrt(std::max(0.0, 1 - least(0.5 * (low + high))));
  }
};

inline WeighedLayer weighed_layer(std::mt19937_64& random, double scale = 1, Eigen::Index out = 24,
                                  Eigen::Index in = 32, Eigen::Index rank = 5) {
  WeighedLayer layer;
  layer.w = gaussian(random, out, in);
  layer.a = gaussian(random, rank, in);
  layer.b = gaussian(random, out, rank);
  layer.scale = scale;
  return layer;
}

/// Takes a direction of the outputs out of W, as an adapter of rank 1 with `share` of the step.
inline void ablate(WeighedLayer& layer, const Matrix& direction, double share) {
  const Matrix unit = direction / direction.norm();
  layer.b = -share * unit;
  layer.a = unit.transpose() * layer.w;
}

}  // namespace winnow::test
