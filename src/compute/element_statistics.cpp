#include "winnow/compute/element_statistics.hpp"

#include <algorithm>
#include <span>

#include "winnow/stats/element_histogram.hpp"

namespace winnow::compute {
ElementSummary ElementSummary::scaled(double factor) const {
  ElementSummary result{minimum * factor, maximum * factor, sum * factor, q25 * factor, q75 * factor};
  if (factor < 0) {
    std::swap(result.minimum, result.maximum);
    std::swap(result.q25, result.q75);
  }
  return result;
}

template <class Real>
ElementSummary summarise(const TileSweep<Real>& sweep) {
  stats::ElementRange range;
  sweep([&](const Real* values, std::size_t count) { range.add(std::span(values, count)); });
  stats::QuartileSearch quartiles(range);
  while (!quartiles.done()) {
    sweep([&](const Real* values, std::size_t count) { quartiles.add(std::span(values, count)); });
    quartiles.advance();
  }
  return {range.minimum, range.maximum, range.sum, quartiles.q25(), quartiles.q75()};
}

template ElementSummary summarise<float>(const TileSweep<float>&);
template ElementSummary summarise<double>(const TileSweep<double>&);

}  // namespace winnow::compute
