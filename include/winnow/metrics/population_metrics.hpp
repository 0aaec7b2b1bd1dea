// Metrics that compare a LoRA layer with its peers: E-DIEM, its published relatives, misalignment.
//
// Arrays are N x M (adapter-major), NaN if an adapter has no LoRA on a module or the value is undefined. A NaN
// never enters a population, and its own score is NaN. An infinite value enters no population either (it would make
// the quartiles of its peers meaningless); its own score is infinite. All throw Error(runtime) if sizes differ.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::metrics {

/// Who the peers of a layer are (`--population`).
enum class Population : std::uint8_t {
  role,     ///< the adapter's modules of the same role; the whole adapter if a role has fewer than 4 scored ones
  adapter,  ///< all modules of the adapter
  zoo,      ///< the same module in all adapters
};
Population parse_population(std::string_view text);  ///< throws Error(usage)
std::string_view name(Population population);

/// The layout of the arrays: adapters x modules, and the role of each module.
struct Layout {
  std::uint64_t adapters = 0, modules = 0;
  std::vector<std::string> roles;  ///< [modules]
};

/// (x - median) / (Q75 - Q25) over the population; 0 if the spread is 0. With x = rms_distance this is E-DIEM
/// (SPLoRA, arXiv 2506.18931, on the scale-free distance). A spread below 1e-6 of the quartiles themselves counts as 0:
/// that is all that float32 data can resolve, and scores from less would be rounding noise.
std::vector<double> robust_scores(std::span<const double> values, const Layout& layout, Population population);

/// ((d + 1e-6) - mean d) / (IQR d + 1e-6) - (Q25(C dW) - Q25(dW)), population: all modules of the adapter. Needs the
/// 25 % quantiles of the entries of C dW and dW. As published with SPLoRA, given a real population.
std::vector<double> ediem_published_iqr(std::span<const double> distance, std::span<const double> projected_q25,
                                        std::span<const double> update_q25, const Layout& layout);

/// (d - mean d) / sqrt(var d + 1e-6), sample variance, population: all modules of the adapter. A population of one has
/// no variance: it counts as 0.
std::vector<double> ediem_published_std(std::span<const double> distance, const Layout& layout);

/// (d - sqrt(2n)) / sqrt(2n(1 - 1/pi)), n = o*i: as published if no samples are given. A baseline only.
double diem_theoretical(double distance, std::uint64_t elements);

/// DIEM (Tessari et al., arXiv 2407.08623): (v_M - v_m)/sigma^2 * (d - E[d]) with the closed forms for large n:
/// E = w sqrt(n/6), sigma^2 = 7 w^2 / 120, w = v_M - v_m the range of both matrices. 0 if w = 0.
double diem(double distance, double minimum, double maximum, std::uint64_t elements);

/// Which of the three made a layer misaligned.
enum class Cause : std::uint8_t { none = 0, magnitude = 1, direction = 2, sign = 3 };

struct Misalignment {
  std::vector<double> score;  ///< max( z(log rms_distance), z(-log subspace_energy), z(alignment_removed) )
  std::vector<Cause> cause;   ///< the largest of the three; none if the score is NaN or not above 0
};

/// The least spread that z divides by, for each term. They are absolute: the quartiles of a logarithm may be 0, and
/// what is small beside them may still be all that there is. A population that differs by less has no outliers because
/// of that; one module that differs from such peers by much has a high score.
///
/// log rms_distance: 0.01 %. float32 sums leave 1e-6 of a distance open, as teams of different sizes show, so that they
/// change no score by more than a hundredth.
inline constexpr double kLeastMagnitude = 1e-4;
/// -log subspace_energy: 2 % of the energy. The sketch has it off by up to 0.03, by 0.003 for most.
inline constexpr double kLeastDirection = 0.02;
/// alignment_removed: a millionth of the alignment step. Rounding leaves some 1e-9 open if ||dW|| is about ||V||.
inline constexpr double kLeastSign = 1e-6;
/// A `subspace_energy` below this counts as this: what is inside then is the sketch's error, or rounding, and its
/// logarithm would spread widely.
inline constexpr double kLeastEnergy = 1e-3;

/// z is (x - median) / spread over the population, where spread is the inter-quartile range, but the least spread above
/// and 1e-6 of the quartiles at least. A difference below a hundredth of the least spread counts as 0, so that rounding
/// makes neither a score nor a cause. A term that is undefined (no sketch, V = 0) is left out of the maximum.
///
/// A `rms_distance` of exactly 0 has no logarithm, so that term is left out; if the other two are 0 or undefined too,
/// the update itself is 0, there is nothing to judge: the score is NaN, and none of the terms enters a population.
/// A NaN `rms_distance` gives NaN.
Misalignment misalignment(std::span<const double> rms_distance, std::span<const double> subspace_energy,
                          std::span<const double> alignment_removed, const Layout& layout, Population population);

}  // namespace winnow::metrics
