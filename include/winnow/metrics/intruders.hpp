// Intruder dimensions (arXiv 2410.21228): leading left singular vectors of W + dW that are none of W's.
//
// W and W + dW are compared on inputs that hold all of dW and most of W: an orthonormal basis Q (i x q) of the right
// singular vectors of dW and of what a random sketch Z = W^T*Omega (i x c) has beyond them. With dW = U*Sigma*V^T
//
//     W*Q = [K*r  M'],  (W + dW)*Q = [K*r + U*Sigma  M'],   K = W*A^T,  V = A^T*r,  M' = (W*Z - K*r*V^T*Z)*T
//
// whose left singular vectors follow from the Gram matrix of [K W*Z B], T from that of Z. With a sketch of more than
// min(o, i) columns they are those of W and W + dW themselves. Else those of W*Q are W's leading ones and those that dW
// touches; both are seen through the same Q, so that no update has no intruders, whatever the sketch misses, and a
// singular vector of W that dW raises is none even if the sketch lacks it: its right one is among the rows of A, and
// then it is one of W*Q as well.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace winnow::metrics {

/// How many leading left singular vectors of W + dW are looked at, and the |cosine| that an intruder has with none of
/// W's; both as published.
inline constexpr std::uint64_t kLeadingVectors = 10;
inline constexpr double kIntruderCosine = 0.5;

/// ||dW|| beside ||W|| from which on W is not there in float32: a larger update is seen as of that size.
inline constexpr double kLargestUpdate = 0x1p24;

/// Row-major, with M = W*Z.
struct WeightBesideUpdate {
  std::uint64_t rank = 0, columns = 0;    ///< r, c
  double weight_norm = 0;                 ///< ||W||_F, above 0
  std::span<const double> btb, ktk, ktb;  ///< B^T*B, K^T*K, K^T*B: r x r
  std::span<const double> ztz, mtm;       ///< Z^T*Z, M^T*M: c x c
  std::span<const double> zta, mtk, mtb;  ///< Z^T*A^T, M^T*K, M^T*B: c x r
};

/// The singular value decomposition of dW, or the part of it that counts: U = B*left, V = A^T*right.
struct UpdateDirections {
  std::span<const double> sizes;        ///< m: Sigma/||W||_F, above 0, at most kLargestUpdate
  std::span<const double> left, right;  ///< r x m, row-major
};

struct Intruders {
  std::uint64_t count = 0;     ///< of kLeadingVectors at most
  std::uint64_t compared = 0;  ///< left singular vectors of W that there were to compare with
};

/// Singular values of W + dW below 1e-3 of W's largest do not count, nor those of W below half of that: float32
/// products know no more. Nothing if a sum is not finite or W*Q is 0.
std::optional<Intruders> find_intruders(const WeightBesideUpdate& sums, const UpdateDirections& update);

/// Multiply-adds of find_intruders() for an update of full rank r beside a sketch of c columns: of its products, and of
/// its decompositions as Golub & Van Loan count them (Matrix Computations, 4th ed., 8.3.5 and 8.6.3: 9n^3 flops of a
/// symmetric one with its vectors, 12n^3 of singular values and right vectors). For `winnow plan`.
double intruder_multiply_adds(std::uint64_t rank, std::uint64_t columns);

}  // namespace winnow::metrics
