// A layer whose V and dW are formed densely, and its values by every method: with a sketch of all columns, which has no
// error, so that they can be set beside singular value decompositions.
#pragma once

#include <cstdint>
#include <random>

#include "methods/layer_values.hpp"
#include "metrics/dense.hpp"
#include "svd.hpp"

namespace winnow::test {

struct DenseLayer {
  Matrix v, a, b;
  double scale = 1;
  std::uint64_t directions = 4;

  Matrix update() const { return scale * b * a; }
  Eigen::JacobiSVD<Eigen::MatrixXd> svd() const {
    return Eigen::JacobiSVD<Eigen::MatrixXd>(v, Eigen::ComputeThinU | Eigen::ComputeThinV);
  }
  Matrix left() const { return svd().matrixU().leftCols(static_cast<Eigen::Index>(directions)); }
  Matrix right() const { return svd().matrixV().leftCols(static_cast<Eigen::Index>(directions)); }
  Eigen::VectorXd sigma() const { return svd().singularValues().head(static_cast<Eigen::Index>(directions)); }

  LayerValues values(std::mt19937_64& random) const { return values(orthonormal(random, v.rows(), v.rows())); }
  LayerValues values(const Matrix& omega) const {
    const Matrix z = v.transpose() * omega, image = v * z;
    const metrics::SafetySubspace subspace(row_major(z.transpose() * z), row_major(image.transpose() * image),
                                           static_cast<std::uint64_t>(omega.cols()), directions);
    return LayerValues(statistics_of(v, a, b, image, z), row_major(a * a.transpose()), scale,
                       static_cast<std::uint64_t>(v.rows()), static_cast<std::uint64_t>(v.cols()), v.norm(), &subspace);
  }
};

/// Directions of V that lead, over noise; an update of rank 3.
inline DenseLayer dense_layer(std::mt19937_64& random, double scale, Eigen::Index out = 24, Eigen::Index in = 32) {
  return {low_rank_plus_noise(random, out, in, 4, 0.02), gaussian(random, 3, in), gaussian(random, out, 3), scale};
}

}  // namespace winnow::test
