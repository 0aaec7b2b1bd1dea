// The update of low rank that was merged into a weight, from the weight before and after.
//
// Storing W + dW rounds it, so D = W_merged - W is dW + E, E by entries at most half a unit of the last place of
// W_merged. If its entries were independent, its singular values would lie below
//
//     edge(E) = max_a ||E_a.|| + max_c ||E_.c||
//
// but for terms of lower order (after Bandeira and van Handel, arXiv 1408.6185). But E is a function of W and dW: of an
// update of rank 1 or 2 its entries are so alike that some of its directions stand out as well, and it biases the
// leading triplets of D. So a rank k is tried by merging: with X of rank k, at first the k leading triplets of D,
//
//     L = W_merged - round(W + X)
//
// is what rounding makes of the error of X alone. X becomes the k leading triplets of X + L, a few times. In a
// prototype (bf16, 512 to 1024 columns, ranks 1 to 32) that left a quarter to a twelfth of the error of D's own
// triplets (ranks 1 and 2); off the directions of X the largest singular value of L was 0.5 to 0.8 of edge(L) with k
// the rank or more, and 1.6 and more with a direction too few, unless that one is no larger than what rounding leaves.
#pragma once

#include <cstdint>
#include <optional>

#include "winnow/repair/factors.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair {

struct RankRule {
  std::optional<std::uint64_t> rank;  ///< this many directions; without it the smallest rank that passes the test above
  std::uint64_t largest = 256;        ///< of those that are tried
};

struct LowRank {
  Factors update;       ///< of scale 1; rank 0 if nothing stands out from rounding
  double norm = 0;      ///< ||D||
  double residual = 0;  ///< ||D - B*A||
  double rounding = 0;  ///< sqrt(sum of ulp^2/12): ||E||, if entries are anywhere between two values that can be stored
  double share_equal = 1;   ///< of the elements of W_merged that merging B*A into W gives bit for bit
  bool is_low_rank = true;  ///< false if RankRule::largest directions leave some that stand out
};

/// `weights` are a pair: W its base, W_merged its aligned tensor. The square roots of the singular values go to both
/// factors. Sweeps over the pair: two an iteration of each search and each test, and one to merge again. The same bits
/// whatever the number of threads. Throws Error(invalid_input) as WeightProducts does.
LowRank low_rank(const StoredWeights& weights, const RankRule& rule, int threads, const WeightNames& names);

}  // namespace winnow::repair
