#include "ablation.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "winnow/base/philox.hpp"
#include "winnow/synth/weights.hpp"

namespace winnow::synth {
namespace {

constexpr double kOwnPart = 0.1;
constexpr std::uint64_t kRows = 64;  // made at a time

double value_of(std::uint16_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
}

/// use(row, values) for every row of the aligned weight.
template <class Use>
void for_each_row(std::uint64_t seed, const Module& module, const Use& use) {
  const checkpoint::TensorSpec tensor{module.name + ".weight", base::DType::bf16, {module.out, module.in}};
  const TensorRows weight(seed, tensor, &module, true);
  std::vector<std::uint16_t> stored(kRows * module.in);
  std::vector<double> values(module.in);
  for (std::uint64_t first = 0; first < module.out; first += kRows) {
    const auto count = std::min(kRows, module.out - first);
    weight.make(first, count, stored.data());
    for (std::uint64_t row = 0; row < count; ++row) {
      for (std::uint64_t i = 0; i < module.in; ++i) values[i] = value_of(stored[row * module.in + i]);
      use(first + row, values);
    }
  }
}

}  // namespace

std::vector<double> ablated_direction(std::uint64_t seed, const std::string& adapter, std::uint64_t size) {
  std::vector<double> direction(size), own(size);
  base::NormalStream(seed, "ablated").fill(0, size, direction.data());
  base::NormalStream(seed, adapter + "/ablated").fill(0, size, own.data());
  double square = 0;
  for (std::uint64_t row = 0; row < size; ++row) {
    direction[row] += kOwnPart * own[row];
    square += direction[row] * direction[row];
  }
  for (double& value : direction) value /= std::sqrt(square);
  return direction;
}

std::vector<double> written_along(std::uint64_t seed, const Module& module, const std::vector<double>& direction) {
  std::vector<double> written(module.in, 0.0);
  for_each_row(seed, module, [&](std::uint64_t row, const std::vector<double>& values) {
    for (std::uint64_t i = 0; i < module.in; ++i) written[i] += direction[row] * values[i];
  });
  return written;
}

std::vector<double> lost_lengths(std::uint64_t seed, const Module& module, const std::vector<double>& direction,
                                 const std::vector<double>& written) {
  std::vector<double> lengths(module.out, 1.0);
  for_each_row(seed, module, [&](std::uint64_t row, const std::vector<double>& values) {
    double before = 0, after = 0;
    for (std::uint64_t i = 0; i < module.in; ++i) {
      const double left = values[i] - direction[row] * written[i];
      before += values[i] * values[i];
      after += left * left;
    }
    if (after > 0) lengths[row] = std::sqrt(before / after);
  });
  return lengths;
}

}  // namespace winnow::synth
