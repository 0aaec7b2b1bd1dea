#include "winnow/methods/layer.hpp"

#include <fmt/format.h>

#include <cmath>

#include "winnow/base/error.hpp"

namespace winnow::methods {

using base::Error;
using base::ErrorKind;

bool cancels(std::uint64_t rank, std::span<const double> btb, std::span<const double> gram) {
  constexpr double kCancelled = 1e-13;
  double squared_norm = 0, factors = 0;
  for (std::size_t i = 0; i < rank * rank; ++i) squared_norm += gram[i] * btb[i];
  for (std::uint64_t c = 0; c < rank; ++c) factors += std::sqrt(btb[c * rank + c] * gram[c * rank + c]);
  return factors > 0 && !(squared_norm > kCancelled * factors * factors);
}

Layer::Layer(const ModuleFacts& module, const stats::LayerStatistics& sums, std::span<const double> gram_a,
             const Scale& scale, const Beside& beside)
    : module_(module), sums_(sums), gram_(gram_a.begin(), gram_a.end()), beside_(beside) {
  scale_ = std::frexp(scale.factor, &exponent_);
  exponent_ += scale.exponent;
  if (gram_.size() != sums.rank * sums.rank) {
    throw Error(ErrorKind::runtime, "A*A^T of the wrong size")
        .expected(fmt::format("{} numbers, found {}", sums.rank * sums.rank, gram_.size()));
  }
  for (auto& entry : gram_) entry *= scale_ * scale_;
  update_norm_ = std::sqrt(inner(sums.btb));
}

double Layer::whole(double norm) const { return std::ldexp(norm, exponent_); }

double Layer::inner(std::span<const double> sums) const {
  if (sums.size() != gram_.size()) {
    throw Error(ErrorKind::runtime, "layer statistics of the wrong size")
        .expected(fmt::format("{} numbers, found {}", gram_.size(), sums.size()));
  }
  double total = 0;
  for (std::size_t i = 0; i < gram_.size(); ++i) total += gram_[i] * sums[i];
  return total < 0 ? 0 : total;  // the comparison keeps a NaN
}

}  // namespace winnow::methods
