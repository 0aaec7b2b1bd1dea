#include "winnow/run/measuring.hpp"

namespace winnow::run {

std::uint32_t sums_of(const Reading& reading, const Measuring& measuring) {
  using namespace methods;
  std::uint32_t sums = kUpdateSums | (measuring.sums & kSpreadSums);
  if (!reading.probes.empty()) sums |= kProbeSums;
  const auto asked = (measuring.sums & ~kEntrySums) | (measuring.element_statistics ? std::uint32_t{kEntrySums} : 0);
  if (reading.has_pair()) {
    const auto of_pair = asked & (kPairSums | kSubspaceSums | kEntrySums);
    sums |= of_pair | (of_pair != 0 ? std::uint32_t{kPairSums} : 0);
  }
  // Of the aligned checkpoint alone there is nothing else to be had by default.
  const bool by_default = !reading.has_pair() && (asked & kDefaultSums) == kDefaultSums;
  if (reading.has_checkpoint() && ((asked & kWeightSums) != 0 || by_default)) {
    sums |= kWeightSums | (asked & kMoreWeightSums);
  }
  return sums;
}

}  // namespace winnow::run
