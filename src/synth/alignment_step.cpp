#include "winnow/synth/alignment_step.hpp"

#include <algorithm>
#include <cmath>

#include "linear_algebra.hpp"
#include "winnow/base/philox.hpp"

namespace winnow::synth {
namespace {

constexpr double kRelativeNorm = 0.02;   // of ‖V‖ to ‖W_base‖
constexpr double kNormVariation = 0.15;  // of its logarithm, between modules
constexpr double kLeadingEnergy = 0.75;  // share of ‖V‖² in the leading directions
constexpr double kDecay = 0.85;          // σ_{j+1}/σ_j
constexpr std::size_t kLeadingDirections = 6;

}  // namespace

double base_std(const Module& module) { return 1.0 / std::sqrt(static_cast<double>(module.in)); }

double nominal_step_norm(const Module& module) {
  return kRelativeNorm * base_std(module) * std::sqrt(static_cast<double>(module.out) * static_cast<double>(module.in));
}

double AlignmentStep::norm(const Module& module) const {
  double energy = static_cast<double>(module.out) * static_cast<double>(module.in) * tail_std * tail_std;
  for (const double s : sigma) energy += s * s;
  return std::sqrt(energy);
}

AlignmentStep make_alignment_step(std::uint64_t seed, const Module& module) {
  AlignmentStep step;
  step.k = std::min<std::size_t>(kLeadingDirections, std::min(module.out, module.in));

  step.left.resize(module.out * step.k);
  base::NormalStream(seed, "V.left/" + module.name).fill(0, step.left.size(), step.left.data());
  orthonormalise_columns(step.left, step.k);

  std::vector<double> columns(module.in * step.k);
  base::NormalStream(seed, "V.right/" + module.name).fill(0, columns.size(), columns.data());
  orthonormalise_columns(columns, step.k);
  step.right.resize(columns.size());
  for (std::size_t i = 0; i < module.in; ++i) {
    for (std::size_t j = 0; j < step.k; ++j) step.right[j * module.in + i] = columns[i * step.k + j];
  }

  const double norm =
      nominal_step_norm(module) * std::exp(kNormVariation * base::NormalStream(seed, "V.norm/" + module.name).at(0));
  double energy = 0.0, s = 1.0;
  for (std::size_t j = 0; j < step.k; ++j, s *= kDecay) {
    step.sigma.push_back(s);
    energy += s * s;
  }
  for (double& value : step.sigma) value *= norm * std::sqrt(kLeadingEnergy / energy);
  step.tail_std =
      norm * std::sqrt((1.0 - kLeadingEnergy) / (static_cast<double>(module.out) * static_cast<double>(module.in)));
  return step;
}

}  // namespace winnow::synth
