// The safety subspace: leading singular directions of V from a random sketch (Nystrom on V*V^T, float64).
//
//     K = Z^T Z,  K + eps*tr(K)/c*I = L*L^T,  L^-1 (M^T M) L^-T = R diag(w) R^T, k largest
//     sigma_j(V) ~ sqrt(w_j)
//     outputs, the left ones    U_k = M L^-T R_k diag(w)^(-1/2),   U_k^T B = diag(w)^(-1/2) R_k^T L^-1 (M^T B)
//     inputs, the right ones    V_k = Z L^-T R_k,                  V_k^T A^T = R_k^T L^-1 (Z^T A^T)
//
// with Z = V^T*Omega (i x c), M = V*Z (o x c), Omega standard normal (o x c); eps = 1e-7 for float32 data.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace winnow::metrics {

/// Of an update: its output directions are those of B, its input directions those of A^T.
enum class Side : std::uint8_t { output, input };

/// Row-major square matrices; `columns` is c.
class SafetySubspace {
 public:
  /// `ztz` and `mtm` are c x c. `k` directions at most; those with w_j < 1e-6 * w_1 are dropped, so directions() may be
  /// less: 0 if V = 0, if c = 0 (no sketch) or if a sum is not finite. If rounding has made K indefinite
  /// beyond eps, eps is raised tenfold until the factorisation exists. `whole`: c is the smaller dimension of V, so
  /// that Z spans all there is and eps alone is what the sketch has numbers off by.
  SafetySubspace(std::span<const double> ztz, std::span<const double> mtm, std::uint64_t columns, std::uint64_t k,
                 bool whole = false);

  std::uint64_t columns() const noexcept { return columns_; }
  std::uint64_t directions() const noexcept { return directions_; }
  /// ~ sigma_j(V), falling, never above it. The last ones lean on an oversampling of c - k columns and come out tens of
  /// percent low if V has no clear gap after k; the energy stays within a few 1e-2 all the same.
  const std::vector<double>& singular_values() const noexcept { return singular_values_; }

  /// Share of an update inside the subspace: sqrt(<gram, X^T X>) / update_norm in [0, 1], with X = U^T B or V^T A^T.
  /// `sketched` is M^T B or Z^T A^T (c x r), `gram` that of the other factor (r x r): s^2 A A^T or s^2 B^T B. NaN if
  /// there is no subspace; 0 if update_norm is 0.
  double energy(Side side, std::span<const double> sketched, std::span<const double> gram, std::uint64_t rank,
                double update_norm) const;

  /// p_j = u_j^T (B*A) v_j for each direction: how much of it is in the update, with its sign.
  std::vector<double> projections(std::span<const double> mtb, std::span<const double> zta, std::uint64_t rank) const;

  /// What the sketch may have a number off by: the larger difference between `value` of this subspace and of either
  /// half of its columns, which are two independent sketches; of a whole sketch the difference from that with ten
  /// times its eps, which is above what eps does (a square random Z has columns that nearly depend on each other).
  /// `value` is given a subspace and the columns of this one that it is made of. If V's singular values fall behind the
  /// k-th, as they do when alignment has leading directions, it is above the true error of energy() for nine updates of
  /// ten, and some four times as large. If they hardly do, no k directions lead: it is then of the size of the error,
  /// 0.1 and more, and says that the energy means little. NaN if a half has fewer columns than k, or if a value is NaN.
  struct ColumnRange {
    std::uint64_t first = 0, count = 0;
    /// These rows of a c x r matrix.
    std::span<const double> rows_of(std::span<const double> sketched, std::uint64_t rank) const {
      return sketched.subspan(first * rank, count * rank);
    }
  };
  double error_of(const std::function<double(const SafetySubspace& subspace, const ColumnRange& columns)>& value) const;

 private:
  SafetySubspace() = default;
  static SafetySubspace without_error(std::span<const double> ztz, std::span<const double> mtm, std::uint64_t columns,
                                      std::uint64_t k, std::size_t first_shift = 0);  ///< without others
  std::vector<double> projected(Side side, std::span<const double> sketched,
                                std::uint64_t rank) const;  ///< U^T B or V^T A^T, k x r
  void find(std::span<const double> ztz, std::span<const double> mtm, std::uint64_t columns, std::uint64_t k,
            std::size_t first_shift);

  std::uint64_t columns_ = 0, directions_ = 0;
  std::vector<SafetySubspace> others_;  ///< what `value` is compared with: the halves, or that with a larger eps
  std::vector<ColumnRange> ranges_;     ///< of each
  std::size_t shift_ = 0;               ///< which eps it is
  std::vector<double> projector_;       ///< diag(w)^(-1/2) R_k^T L^-1, directions x c
  std::vector<double> singular_values_;
};

}  // namespace winnow::metrics
