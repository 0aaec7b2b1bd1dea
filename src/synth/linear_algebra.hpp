// The little dense algebra that making a family needs, in plain loops: sums in one order everywhere.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace winnow::synth {

/// Makes the `columns` columns of the row-major rows × columns matrix orthonormal (modified Gram-Schmidt, twice).
/// Needs columns <= rows and independent columns.
void orthonormalise_columns(std::span<double> matrix, std::size_t columns);

/// XᵀX of the row-major rows × columns matrix X: columns × columns.
std::vector<double> gram(std::span<const double> matrix, std::size_t columns);

/// X ← X - U·(UᵀX) for row-major X (rows × columns) and U (rows × k, orthonormal columns).
void project_off(std::span<double> matrix, std::size_t columns, std::span<const double> directions, std::size_t k);

}  // namespace winnow::synth
