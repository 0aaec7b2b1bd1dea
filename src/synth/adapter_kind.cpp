#include "winnow/synth/adapter_kind.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "ablation.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/philox.hpp"

namespace winnow::synth {
namespace {

constexpr std::array<std::string_view, kAdapterKinds> kNames = {"placebo",
                                                                "undoing",
                                                                "scaled",
                                                                "payload",
                                                                "ablated",
                                                                "ablated-weighted",
                                                                "ablated-reflected",
                                                                "ablated-norm-preserving",
                                                                "ablated-hidden"};

constexpr double kScaledUp = 1000;
constexpr std::uint64_t kPayloadOutputs = 8;
constexpr double kPayloadEnergy = 0.7;
constexpr double kStrongest = 1.3, kWeakestShare = 1.0 / 3.0;  // of ablated-weighted
constexpr double kReflected = 2;

bool is_ablated(AdapterKind kind) { return kind >= AdapterKind::ablated; }

bool writes_to_residual_stream(const Module& module) { return module.role == "o_proj" || module.role == "down_proj"; }

/// How much of what is written along the direction is taken out.
double strength(AdapterKind kind, const Module& module, std::uint64_t layers) {
  if (kind == AdapterKind::ablated_reflected) return kReflected;
  if (kind != AdapterKind::ablated_weighted || layers < 2) return 1;
  const double middle = static_cast<double>(layers - 1) / 2;
  const double off = std::abs(static_cast<double>(module.layer) - middle) / middle;
  return kStrongest * (1 - (1 - kWeakestShare) * off);
}

/// Rank one: -strength·D·r·(rᵀ·W), the row of A as long as those of ordinary updates.
LoraFactors ablation(std::uint64_t seed, const std::string& adapter, const Module& module, AdapterKind kind,
                     std::uint64_t layers) {
  const auto direction = ablated_direction(seed, adapter, module.out);
  const auto written = written_along(seed, module, direction);
  std::vector<double> lengths(module.out, 1.0);
  if (kind == AdapterKind::ablated_norm_preserving) lengths = lost_lengths(seed, module, direction, written);
  double square = 0;
  for (const double value : written) square += value * value;
  const double row_norm = 1.0 / std::sqrt(3.0), length = std::sqrt(square);
  const double size = -strength(kind, module, layers) * length / (row_norm * alpha_over_rank(kind));
  LoraFactors factors;
  for (const double value : written) factors.a.push_back(static_cast<float>(row_norm * value / length));
  for (std::uint64_t row = 0; row < module.out; ++row) {
    factors.b.push_back(static_cast<float>(size * lengths[row] * direction[row]));
  }
  return factors;
}

/// In place of the smallest column of an ordinary update.
void hide(LoraFactors& ordinary, const LoraFactors& hidden, std::uint64_t rank) {
  const auto in = hidden.a.size(), out = hidden.b.size();
  std::copy(hidden.a.begin(), hidden.a.end(), ordinary.a.begin() + static_cast<std::ptrdiff_t>((rank - 1) * in));
  for (std::size_t row = 0; row < out; ++row) ordinary.b[row * rank + rank - 1] = hidden.b[row];
}

/// The norm stays; kPayloadEnergy of its square moves to a few outputs.
void redirect(std::uint64_t seed, const std::string& adapter, const Module& module, std::uint64_t rank,
              LoraFactors& factors) {
  const auto stream = adapter + "/" + module.name + "/payload";
  const base::BitStream chosen(seed, stream);
  LoraFactors payload{factors.a, std::vector<float>(factors.b.size(), 0.0F)};
  for (std::uint64_t k = 0; k < kPayloadOutputs; ++k) {
    std::uint32_t word = 0;
    chosen.fill(k, 1, &word);
    std::vector<double> row(rank);
    base::NormalStream(seed, fmt::format("{}/{}", stream, k)).fill(0, rank, row.data());
    const auto at = (word % module.out) * rank;
    for (std::uint64_t t = 0; t < rank; ++t) payload.b[at + t] = static_cast<float>(row[t]);
  }
  const double norm = update_norm(factors, rank);
  const auto share = static_cast<float>(std::sqrt(kPayloadEnergy) * norm / update_norm(payload, rank));
  const auto rest = static_cast<float>(std::sqrt(1 - kPayloadEnergy));
  for (std::size_t at = 0; at < factors.b.size(); ++at) factors.b[at] = rest * factors.b[at] + share * payload.b[at];
}

}  // namespace

std::string_view name(AdapterKind kind) { return kNames.at(static_cast<std::size_t>(kind)); }

std::optional<AdapterKind> parse_adapter_kind(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<AdapterKind>(found - kNames.begin());
}

std::vector<AdapterKind> parse_adapter_kinds(std::string_view list) {
  std::vector<AdapterKind> kinds;
  if (list == "all") {
    for (std::size_t kind = 0; kind < kAdapterKinds; ++kind) kinds.push_back(static_cast<AdapterKind>(kind));
    return kinds;
  }
  for (std::size_t begin = 0; begin <= list.size();) {
    const auto end = std::min(list.find(',', begin), list.size());
    const auto kind = parse_adapter_kind(list.substr(begin, end - begin));
    if (!kind) {
      throw base::Error(base::ErrorKind::usage, fmt::format("no kind of adapters: {}", list.substr(begin, end - begin)))
          .expected(fmt::format("all, or some of {}, separated by commas", fmt::join(kNames, ", ")));
    }
    if (std::find(kinds.begin(), kinds.end(), *kind) != kinds.end()) {
      throw base::Error(base::ErrorKind::usage, fmt::format("{} twice in --kinds", name(*kind)))
          .advice("--each N makes N of each");
    }
    kinds.push_back(*kind);
    begin = end + 1;
  }
  return kinds;
}

std::vector<Module> modules_of(AdapterKind kind, const std::vector<Module>& modules) {
  if (!is_ablated(kind) || kind == AdapterKind::ablated_hidden) return modules;
  std::vector<Module> writing;
  std::copy_if(modules.begin(), modules.end(), std::back_inserter(writing), writes_to_residual_stream);
  return writing;
}

std::uint64_t rank_of(AdapterKind kind, std::uint64_t rank) {
  return is_ablated(kind) && kind != AdapterKind::ablated_hidden ? 1 : rank;
}

double alpha_over_rank(AdapterKind kind) { return kind == AdapterKind::scaled ? kScaledUp * kScale : kScale; }

LoraFactors make_update(std::uint64_t seed, const std::string& adapter, const Module& module, std::uint64_t rank,
                        AdapterKind kind, std::uint64_t layers) {
  if (is_ablated(kind) && kind != AdapterKind::ablated_hidden) return ablation(seed, adapter, module, kind, layers);
  const auto planted = kind == AdapterKind::undoing ? std::optional(PlantedKind::undoing) : std::nullopt;
  auto factors = make_update(seed, adapter, module, rank, planted);
  if (kind == AdapterKind::payload) redirect(seed, adapter, module, rank, factors);
  if (kind == AdapterKind::ablated_hidden && writes_to_residual_stream(module)) {
    hide(factors, ablation(seed, adapter, module, kind, layers), rank);
  }
  return factors;
}

}  // namespace winnow::synth
