// Where the scores of a training run are heading.
//
// The line through them is that of Theil and Sen (Sen, J. Am. Stat. Assoc. 63, 1968): the median of the slopes between
// any two, which a few outliers do not turn. Whether they rise at all is asked by Kendall's test, from which Sen
// derived it: the share of all orders of the scores that rise as much, exact. A run is heading for the threshold if the
// test says so at the error rate that its verdicts have, and the line reaches the threshold before as many further
// steps as were watched so far. There is nothing to be tuned, and four scores are the fewest that can say anything at 5
// %.
//
// Scores of one run are no independent draws: a path that wanders without aim rises as much more often than the rate
// says. It is a warning, not a verdict.
#pragma once

#include <cstddef>
#include <limits>
#include <span>

namespace winnow::watch {

struct Score {
  double step = 0, value = 0;
};

struct Trend {
  double slope = std::numeric_limits<double>::quiet_NaN();    ///< of the score by step; NaN of fewer than two steps
  double p = 1;                                               ///< of Kendall's test that scores rise
  double reaches = std::numeric_limits<double>::quiet_NaN();  ///< step at which the line is at the threshold
  bool is_heading = false;                                    ///< the warning
};

/// More than these, the last ones, are not looked at.
inline constexpr std::size_t kMostScores = 256;

/// `scores` in order of steps; what is not finite is left out. `rate` as in verdict::judge.
Trend trend(std::span<const Score> scores, double threshold, double rate);

}  // namespace winnow::watch
