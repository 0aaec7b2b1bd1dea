// Factors as matrices, and their singular value decomposition from the core.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <span>
#include <vector>

#include "winnow/repair/factors.hpp"

namespace winnow::repair {

class WeightProducts;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using View = Eigen::Map<const Matrix>;

View view(std::span<const double> values, std::uint64_t rows, std::uint64_t columns);
inline View b_of(const Factors& factors) { return view(factors.b, factors.out_features, factors.rank); }
inline View a_of(const Factors& factors) { return view(factors.a, factors.rank, factors.in_features); }

std::vector<double> row_major(const Matrix& matrix);

/// Two powers of two, 2^-left and 2^-right, that bring a column of B and a row of A to about the same length when it is
/// multiplied by the former and this by the latter; left + right = `sum`. Nothing is rounded by that.
struct Balance {
  int left = 0, right = 0;
};
Balance balance(double left_norm, double right_norm, int sum);

/// sum_j |b_j| |a_j|, which bounds the update (without its scale) and what rounding does to it.
double size(const Factors& factors);

/// B * A = 2^exponent * left * diag(values) * right^T: the values above rounding, falling, orthonormal columns.
struct Decomposition {
  int exponent = 0;
  Eigen::MatrixXd left, right;  ///< o x n, i x n
  Eigen::VectorXd values;
};
Decomposition decompose(const Factors& factors);

/// Throws Error(invalid_input) for weights of another shape.
void require_same_shape(const Factors& update, const WeightProducts& step);

/// ||B*A|| (Frobenius, without the scale) = value * 2^exponent; 0 if it is rounding alone.
struct Norm {
  double value = 0;
  int exponent = 0;
};
Norm norm(const Factors& factors);

/// Throws Error(usage) for a lambda outside (0, 100].
void check_strength(double lambda);

/// `factors` with further columns of B and rows of A.
Factors with_columns(const Factors& factors, const Matrix& b, const Matrix& a);

/// `factors` and ratio * B*A of another update, of the same scale: each of its columns of B and rows of A that is not
/// zero, brought to one size by a power of two.
Factors with_update(const Factors& factors, const Factors& other, double ratio);

/// `factors` with further columns sum over j of values_j * u_j v_j^T, sqrt(|values_j|) to each factor; those of value 0
/// add none. The smallest rank that holds the result (of_smallest_rank); `factors` as they are if all values are 0.
/// Throws as check_result().
Factors with_triplets(const Factors& factors, const View& u, const Eigen::VectorXd& values, const View& v);

/// Throws Error(invalid_input) if an element of a result is not finite.
void check_result(const Factors& factors);

}  // namespace winnow::repair
