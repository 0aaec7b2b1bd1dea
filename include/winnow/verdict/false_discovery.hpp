// Which of many p-values are findings, if a given share of false ones among the findings is accepted.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace winnow::verdict {

/// The procedure of Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995): with m known p-values and k the largest
/// number such that k of them are at most level*k/m, those are rejected. A NaN was not tested: it does not count and is
/// never rejected. Holds for p-values that are positively dependent as well, such as conformal ones of one bank (Bates
/// et al., Ann. Stat. 51, 2023).
std::vector<bool> rejected(std::span<const double> p, double level);

/// a <= b, where both are quotients of small numbers that were rounded: 1/20 is at most 0.05 whatever the last bit
/// says.
bool at_most(double a, double b);

/// How many of `tested` p-values have to be as small as `smallest` before any of them is rejected; more than `tested`
/// if that is never so.
std::size_t needed(double smallest, std::size_t tested, double level);

}  // namespace winnow::verdict
