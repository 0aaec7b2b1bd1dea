#include "winnow/synth/update.hpp"

#include <algorithm>
#include <cmath>

#include "linear_algebra.hpp"
#include "winnow/base/philox.hpp"

namespace winnow::synth {
namespace {

constexpr double kNormOfStep = 0.6;        // nominal ‖ΔW‖ to nominal ‖V‖
constexpr double kNormVariation = 0.15;    // of the logarithm of the norm
constexpr double kSharedDirections = 0.3;  // e
constexpr double kSharedVariation = 0.10;  // of the logarithm of e
constexpr double kSmallestColumn = 0.2;    // of B's last column to its first
constexpr double kOversizedLow = 2.5, kOversizedHigh = 4.0;
constexpr double kUndoneLow = 0.2, kUndoneHigh = 0.4;
constexpr double kLeastOrdinaryPart = 1.0 / 3.0;

/// Everything about a module that is drawn, the same whether it is planted or not.
struct Draws {
  double norm, shared, oversize, undone;
};

Draws draw(std::uint64_t seed, const std::string& stream, const Module& module) {
  const base::NormalStream normal(seed, stream + "/size");
  const base::BitStream uniform(seed, stream + "/strength");
  return {.norm = kNormOfStep * nominal_step_norm(module) * std::exp(kNormVariation * normal.at(0)),
          .shared = kSharedDirections * std::exp(kSharedVariation * normal.at(1)),
          .oversize = kOversizedLow + (kOversizedHigh - kOversizedLow) * uniform.uniform(0),
          .undone = kUndoneLow + (kUndoneHigh - kUndoneLow) * uniform.uniform(1)};
}

std::vector<double> make_a(std::uint64_t seed, const std::string& stream, const Module& module, std::uint64_t rank) {
  std::vector<double> a(rank * module.in);
  base::BitStream(seed, stream + "/A").fill_uniform(0, a.size(), a.data());
  const double bound = base_std(module);
  for (double& value : a) value = (2.0 * value - 1.0) * bound;
  return a;
}

std::vector<double> make_b(std::uint64_t seed, const std::string& stream, const Module& module, std::uint64_t rank,
                           const AlignmentStep& step, double shared) {
  std::vector<double> b(module.out * rank), along(step.k * rank);
  base::NormalStream(seed, stream + "/B").fill(0, b.size(), b.data());
  base::NormalStream(seed, stream + "/B.shared").fill(0, along.size(), along.data());
  // Both parts with expected energy 1 a column before they are mixed.
  const double random_part = std::sqrt((1.0 - shared * shared) / static_cast<double>(module.out));
  const double shared_part = shared / std::sqrt(static_cast<double>(step.k));
  std::vector<double> fall(rank, 1.0);
  for (std::uint64_t t = 1; t < rank; ++t) {
    fall[t] = std::pow(kSmallestColumn, static_cast<double>(t) / static_cast<double>(rank - 1));
  }
  for (std::uint64_t row = 0; row < module.out; ++row) {
    for (std::uint64_t t = 0; t < rank; ++t) {
      double value = random_part * b[row * rank + t];
      for (std::size_t j = 0; j < step.k; ++j) value += shared_part * step.left[row * step.k + j] * along[j * rank + t];
      b[row * rank + t] = value * fall[t];
    }
  }
  return b;
}

double product_norm(const std::vector<double>& a, const std::vector<double>& b, std::uint64_t rank) {
  const auto in = a.size() / rank;
  std::vector<double> a_columns(a.size());  // Aᵀ, so that both Gram matrices are of columns
  for (std::size_t t = 0; t < rank; ++t) {
    for (std::size_t i = 0; i < in; ++i) a_columns[i * rank + t] = a[t * in + i];
  }
  const auto of_a = gram(a_columns, rank), of_b = gram(b, rank);
  double energy = 0.0;
  for (std::size_t at = 0; at < of_a.size(); ++at) energy += of_a[at] * of_b[at];
  return kScale * std::sqrt(std::max(0.0, energy));
}

void scale_to(std::vector<double>& b, const std::vector<double>& a, std::uint64_t rank, double norm) {
  const double present = product_norm(a, b, rank);
  if (present == 0.0) return;
  for (double& value : b) value *= norm / present;
}

/// Puts -β·U_q·diag(σ_q)·Q_qᵀ into the first q columns of B and rows of A, the ordinary update into the others.
void undo(std::vector<double>& a, std::vector<double>& b, const Module& module, std::uint64_t rank,
          const AlignmentStep& step, const Draws& draws) {
  const auto q = std::min<std::size_t>(step.k, std::max<std::size_t>(1, rank / 2));
  for (std::uint64_t row = 0; row < module.out; ++row)
    std::fill_n(b.begin() + static_cast<std::ptrdiff_t>(row * rank), q, 0.0);
  double undone = 0.0;
  for (std::size_t j = 0; j < q; ++j) undone += std::pow(draws.undone * step.sigma[j], 2);
  const double left_over = std::sqrt(std::max(0.0, draws.norm * draws.norm - undone));
  scale_to(b, a, rank, std::max(left_over, kLeastOrdinaryPart * draws.norm));

  const double row_norm = 1.0 / std::sqrt(3.0);  // what a row of uniform ±1/√in has
  for (std::size_t j = 0; j < q; ++j) {
    for (std::uint64_t i = 0; i < module.in; ++i) a[j * module.in + i] = row_norm * step.right[j * module.in + i];
    const double size = -draws.undone * step.sigma[j] / (kScale * row_norm);
    for (std::uint64_t row = 0; row < module.out; ++row) b[row * rank + j] = size * step.left[row * step.k + j];
  }
}

}  // namespace

LoraFactors make_update(std::uint64_t seed, const std::string& adapter, const Module& module, std::uint64_t rank,
                        std::optional<PlantedKind> planted) {
  const auto stream = adapter + "/" + module.name;
  const auto draws = draw(seed, stream, module);
  const auto step = make_alignment_step(seed, module);
  auto a = make_a(seed, stream, module, rank);
  auto b = make_b(seed, stream, module, rank, step, draws.shared);
  if (planted == PlantedKind::undoing) {
    undo(a, b, module, rank, step, draws);
  } else {
    if (planted == PlantedKind::off_subspace) project_off(b, rank, step.left, step.k);
    scale_to(b, a, rank, draws.norm * (planted == PlantedKind::oversized ? draws.oversize : 1.0));
  }
  return {std::vector<float>(a.begin(), a.end()), std::vector<float>(b.begin(), b.end())};
}

double update_norm(const LoraFactors& factors, std::uint64_t rank) {
  return product_norm({factors.a.begin(), factors.a.end()}, {factors.b.begin(), factors.b.end()}, rank);
}

}  // namespace winnow::synth
