#include "winnow/run/judging.hpp"

#include "winnow/methods/table.hpp"

namespace winnow::run {

std::string ranking_of(const Judging& judging, std::uint32_t sums) {
  return judging.rank_by.empty() ? std::string(methods::default_ranking(sums)) : judging.rank_by;
}

}  // namespace winnow::run
