// Singular triplets drawn at random: of what alignment may have done to a module.
#pragma once

#include <Eigen/QR>
#include <algorithm>

#include "repair/dense.hpp"
#include "winnow/repair/singular_vectors.hpp"

namespace winnow::repair::test {

inline Matrix orthonormal(Draw& draw, Eigen::Index rows, Eigen::Index columns) {
  return Eigen::HouseholderQR<Matrix>(draw.gaussian(rows, columns)).householderQ() * Matrix::Identity(rows, columns);
}

/// V = u * diag(values) * v^T, of any size.
struct Step {
  Step(Draw& draw, Eigen::Index out, Eigen::Index in, Eigen::Index count)
      : u(orthonormal(draw, out, std::min({count, out, in}))), v(orthonormal(draw, in, u.cols())), values(u.cols()) {
    const double by = draw.power(-10, 5);
    for (Eigen::Index j = 0; j < values.size(); ++j) values[j] = by * std::pow(0.5, static_cast<double>(j));
  }

  Matrix dense() const { return u * values.asDiagonal() * v.transpose(); }
  Triplets triplets() const {
    return {static_cast<std::uint64_t>(u.cols()), {values.begin(), values.end()}, values_of(u), values_of(v)};
  }

  Matrix u, v;
  Eigen::VectorXd values;
};

}  // namespace winnow::repair::test
