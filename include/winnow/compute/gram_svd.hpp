// The singular value decomposition of an update B*A from B^T*B and A*A^T alone.
//
// With D the lengths of B's columns, D^-1*B^T*B*D^-1 = F*F^T, and of A's rows likewise: B*A has the singular values of
// the r x r core F_B^T*D_B*D_A*F_A. Rows of A multiplied by what B's columns are divided by are the same update, and
// change nothing. Sums of squares hold half the digits: eigenvalues of a Gram matrix below 1e-12 of its largest are
// rounding, and left out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace winnow::compute {

struct GramSvd {
  std::uint64_t rank = 0, count = 0;
  std::vector<double> values;       ///< [count], falling
  std::vector<double> left, right;  ///< rank x count, row-major: singular vectors are B*left and A^T*right
};

/// Both matrices rank x rank. Nothing if one of them is not finite.
std::optional<GramSvd> gram_svd(std::span<const double> btb, std::span<const double> gram_a, std::uint64_t rank);

}  // namespace winnow::compute
