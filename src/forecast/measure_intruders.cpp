// Calibration: the small decompositions of find_intruders(), of one layer of a rank that is usual.
#include <cmath>
#include <cstdint>
#include <vector>

#include "measure.hpp"
#include "winnow/compute/gram_svd.hpp"
#include "winnow/metrics/intruders.hpp"

namespace winnow::forecast {
namespace {

constexpr std::size_t kRank = 16, kColumns = 48, kFeatures = 96, kSamples = 8;

/// Row-major, kFeatures rows.
struct Tall {
  std::size_t columns = 0;
  std::vector<double> values;
};

Tall noise(std::size_t columns, std::uint64_t state) {
  Tall matrix{columns, std::vector<double>(kFeatures * columns)};
  for (auto& value : matrix.values) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    value = static_cast<double>(state >> 11U) * 0x1p-53 - 0.5;
  }
  return matrix;
}

/// X^T * Y.
std::vector<double> between(const Tall& x, const Tall& y) {
  std::vector<double> sums(x.columns * y.columns);
  for (std::size_t row = 0; row < kFeatures; ++row) {
    for (std::size_t i = 0; i < x.columns; ++i) {
      for (std::size_t j = 0; j < y.columns; ++j) {
        sums[i * y.columns + j] += x.values[row * x.columns + i] * y.values[row * y.columns + j];
      }
    }
  }
  return sums;
}

/// W * X of a W of which this is the transpose.
Tall times(const Tall& w_turned, const Tall& x) { return {x.columns, between(w_turned, x)}; }

}  // namespace

double measure_intruders() {
  const auto w = noise(kFeatures, 1), b = noise(kRank, 2), a_turned = noise(kRank, 3), omega = noise(kColumns, 4);
  Tall w_turned{kFeatures, std::vector<double>(kFeatures * kFeatures)};
  double squares = 0;
  for (std::size_t k = 0; k < w.values.size(); ++k) {
    w_turned.values[k % kFeatures * kFeatures + k / kFeatures] = w.values[k];
    squares += w.values[k] * w.values[k];
  }
  const auto z = times(w, omega), k = times(w_turned, a_turned), m = times(w_turned, z);
  const auto btb = between(b, b), ktk = between(k, k), ktb = between(k, b), ztz = between(z, z), mtm = between(m, m),
             zta = between(z, a_turned), mtk = between(m, k), mtb = between(m, b);
  const double norm = std::sqrt(squares);
  auto svd = compute::gram_svd(btb, between(a_turned, a_turned), kRank);
  if (!svd) return 0;
  for (auto& value : svd->values) value /= norm;
  std::vector<double> samples;
  for (std::size_t sample = 0; sample < kSamples; ++sample) {
    samples.push_back(seconds_of([&] {
      metrics::find_intruders({kRank, kColumns, norm, btb, ktk, ktb, ztz, mtm, zta, mtk, mtb},
                              {svd->values, svd->left, svd->right});
    }));
  }
  return undisturbed(samples) / metrics::intruder_multiply_adds(kRank, kColumns);
}

}  // namespace winnow::forecast
