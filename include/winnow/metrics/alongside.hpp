// How far one thing runs along another, over parts of which each is known or not: an update along a probe, module by
// module.
#pragma once

#include <span>

namespace winnow::metrics {

/// Over the parts that both have.
struct Alongside {
  bool known = false;  ///< whether there is such a part
  double dot = 0;
  double size = 0, other = 0;  ///< norms, without a square that may not be a number
  double facing = 0;           ///< the norm of the first over the parts in which the other is something

  /// Within [-1, 1]; 0 if one of the two is nothing. NaN if not known.
  double cosine() const;
  /// dot/sqrt(facing), in units of the other: between the cosine, which anything added across the other makes smaller,
  /// and dot, which a large thing has by chance. 0 if one of the two is nothing. NaN if not known.
  double pull() const;
  /// How much of the other is in the first: dot/other^2; 0 if the other is nothing. NaN if not known.
  double coefficient() const;
};

/// `dots`, `sizes` and `others` of one length, NaN if not known.
Alongside alongside(std::span<const double> dots, std::span<const double> sizes, std::span<const double> others);

/// That of all parts, of the norms of those that are known.
double whole_norm(std::span<const double> norms);

/// The logarithm of that of all modules of one update. NaN if the update is 0 or not known at all.
double log_norm(std::span<const double> norms);

}  // namespace winnow::metrics
