#include "winnow/methods/zoo.hpp"

#include <cmath>

#include "winnow/methods/layer.hpp"

namespace winnow::methods {

std::vector<double> Zoo::largest_of_modules(std::string_view name) const {
  const auto& values = dataset(name);
  std::vector<double> largest(layout.adapters, kUndefined);
  for (std::size_t n = 0; n < layout.adapters; ++n) {
    for (std::size_t m = 0; m < layout.modules; ++m) {
      const double value = values[n * layout.modules + m];
      if (!(largest[n] >= value) && !std::isnan(value)) largest[n] = value;
    }
  }
  return largest;
}

}  // namespace winnow::methods
