// Each kind of adapter is what it is named for, computed densely from the weights that synth writes.
#include "winnow/synth/adapter_kind.hpp"

#include <gmock/gmock.h>

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "winnow/base/error.hpp"
#include "winnow/synth/weights.hpp"

namespace winnow::synth {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Factor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::uint64_t kSeed = 3, kLayers = 8, kRank = 6;

const std::vector<Module>& modules() {
  static const auto all = linear_modules(preset_shape("tiny"));
  return all;
}

const Module& module_of(std::string_view role, std::uint64_t layer) {
  return *std::find_if(modules().begin(), modules().end(),
                       [&](const Module& module) { return module.role == role && module.layer == layer; });
}

Eigen::Index extent(std::uint64_t value) { return static_cast<Eigen::Index>(value); }

Matrix aligned(const Module& module) {
  const TensorRows rows(kSeed, {module.name + ".weight", base::DType::bf16, {module.out, module.in}}, &module, true);
  std::vector<std::uint16_t> stored(module.out * module.in);
  rows.make(0, module.out, stored.data());
  Matrix weight(extent(module.out), extent(module.in));
  for (std::size_t at = 0; at < stored.size(); ++at) {
    weight.data()[at] = static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(stored[at]) << 16));
  }
  return weight;
}

Matrix update_of(const Module& module, AdapterKind kind, const std::string& adapter = "x") {
  const auto rank = rank_of(kind, kRank);
  const auto factors = make_update(kSeed, adapter, module, rank, kind, kLayers);
  const Eigen::Map<const Factor> b(factors.b.data(), extent(module.out), extent(rank)),
      a(factors.a.data(), extent(rank), extent(module.in));
  return alpha_over_rank(kind) * b.cast<double>() * a.cast<double>();
}

Matrix ordinary(const Module& module, const std::string& adapter = "x") {
  return update_of(module, AdapterKind::placebo, adapter);
}

/// The direction that an update of rank one writes.
Eigen::VectorXd written_direction(const Matrix& update) {
  Eigen::Index column = 0;
  update.colwise().squaredNorm().maxCoeff(&column);
  return update.col(column).normalized();
}

TEST(AdapterKind, AblationsTakeADirectionOutOfWhatTheWeightsWrite) {
  for (const auto* role : {"o_proj", "down_proj"}) {
    for (const std::uint64_t layer : {0U, 3U, 7U}) {
      const auto& module = module_of(role, layer);
      const Matrix weight = aligned(module), plain = update_of(module, AdapterKind::ablated);
      const Eigen::VectorXd r = written_direction(plain);
      const Matrix taken = r * (r.transpose() * weight);
      EXPECT_LT((plain + taken).norm(), 1e-6 * taken.norm()) << module.name;
      EXPECT_LT((update_of(module, AdapterKind::ablated_reflected) + 2 * taken).norm(), 1e-6 * taken.norm());
      // At both ends a third of what it is in the middle, of which there is none between 8 layers.
      const double off = std::abs(static_cast<double>(layer) - 3.5) / 3.5;
      const double strength = 1.3 * (1 - 2.0 / 3 * off);
      EXPECT_LT((update_of(module, AdapterKind::ablated_weighted) + strength * taken).norm(), 1e-6 * taken.norm());
    }
  }
}

TEST(AdapterKind, OneDirectionServesAllModulesAndAlmostAllAdapters) {
  const auto direction = [](const Module& module, const std::string& adapter) {
    return written_direction(update_of(module, AdapterKind::ablated, adapter));
  };
  const Eigen::VectorXd r = direction(module_of("o_proj", 0), "x");
  EXPECT_NEAR(std::abs(r.dot(direction(module_of("down_proj", 5), "x"))), 1, 1e-6);
  const double other = std::abs(r.dot(direction(module_of("o_proj", 0), "y")));
  EXPECT_GT(other, 0.97);
  EXPECT_LT(other, 0.999);
}

TEST(AdapterKind, NormPreservingLeavesRowsAsLongAsARankOfOneCan) {
  const auto& module = module_of("down_proj", 2);
  const Matrix weight = aligned(module), update = update_of(module, AdapterKind::ablated_norm_preserving);
  const Eigen::VectorXd r = written_direction(update_of(module, AdapterKind::ablated));
  const Matrix rest = weight - r * (r.transpose() * weight);
  const Eigen::VectorXd lengths = weight.rowwise().norm().cwiseQuotient(rest.rowwise().norm());
  const Matrix expected = -lengths.cwiseProduct(r) * (r.transpose() * weight);
  EXPECT_LT((update - expected).norm(), 1e-6 * expected.norm());
  EXPECT_GT((lengths.array() - 1).abs().maxCoeff(), 1e-4);  // or it would be the plain one
}

TEST(AdapterKind, AHiddenAblationIsOneColumnOfAnOrdinaryUpdate) {
  const auto& module = module_of("o_proj", 4);
  const auto hidden = make_update(kSeed, "x", module, kRank, AdapterKind::ablated_hidden, kLayers);
  const auto plain = make_update(kSeed, "x", module, kRank, AdapterKind::placebo, kLayers);
  const auto alone = make_update(kSeed, "x", module, 1, AdapterKind::ablated, kLayers);
  for (std::uint64_t row = 0; row < module.out; ++row) {
    for (std::uint64_t t = 0; t + 1 < kRank; ++t) EXPECT_EQ(hidden.b[row * kRank + t], plain.b[row * kRank + t]);
    EXPECT_EQ(hidden.b[row * kRank + kRank - 1], alone.b[row]);
  }
  EXPECT_TRUE(std::equal(alone.a.begin(), alone.a.end(), hidden.a.end() - extent(module.in)));
  const auto& other = module_of("gate_proj", 4);
  EXPECT_EQ(update_of(other, AdapterKind::ablated_hidden), ordinary(other));
}

TEST(AdapterKind, APayloadHasMostOfTheEnergyInEightOutputsAndTheOrdinaryNorm) {
  for (const auto& module : {module_of("k_proj", 1), module_of("up_proj", 6)}) {
    const Matrix update = update_of(module, AdapterKind::payload);
    const Eigen::VectorXd rows = update.rowwise().squaredNorm();
    std::vector<double> falling(rows.begin(), rows.end());
    std::sort(falling.begin(), falling.end(), std::greater<>());
    double largest = 0;
    for (std::size_t k = 0; k < 8; ++k) largest += falling[k];
    EXPECT_GT(largest / rows.sum(), 0.6) << module.name;
    EXPECT_NEAR(update.norm(), ordinary(module).norm(), 0.2 * ordinary(module).norm());
  }
}

TEST(AdapterKind, ScaledIsAnOrdinaryUpdateTimesAThousandAndUndoingTakesTheStepBack) {
  const auto& module = module_of("v_proj", 1);
  EXPECT_LT((update_of(module, AdapterKind::scaled) - 1000 * ordinary(module)).norm(),
            1e-9 * 1000 * ordinary(module).norm());
  for (const auto& one : modules()) {
    const auto undone = make_update(kSeed, "x", one, kRank, AdapterKind::undoing, kLayers);
    const auto planted = make_update(kSeed, "x", one, kRank, PlantedKind::undoing);
    EXPECT_EQ(undone.a, planted.a);
    EXPECT_EQ(undone.b, planted.b);
  }
  EXPECT_NE(ordinary(module, "placebo-000"), ordinary(module, "placebo-001"));
}

TEST(AdapterKind, AblationsAloneHaveTheModulesThatWriteToTheResidualStream) {
  EXPECT_EQ(modules_of(AdapterKind::payload, modules()).size(), 56U);
  EXPECT_EQ(modules_of(AdapterKind::ablated_hidden, modules()).size(), 56U);
  EXPECT_EQ(modules_of(AdapterKind::ablated_norm_preserving, modules()).size(), 16U);
  EXPECT_EQ(rank_of(AdapterKind::ablated, 16), 1U);
  EXPECT_EQ(rank_of(AdapterKind::ablated_hidden, 16), 16U);
}

TEST(AdapterKind, NamesAreReadAsTheyAreWritten) {
  const auto all = parse_adapter_kinds("all");
  EXPECT_EQ(all.size(), kAdapterKinds);
  for (const auto kind : all) {
    EXPECT_EQ(parse_adapter_kind(name(kind)), kind);
    EXPECT_THAT(parse_adapter_kinds(name(kind)), testing::ElementsAre(kind));
  }
  EXPECT_THAT(parse_adapter_kinds("payload,ablated"), testing::ElementsAre(AdapterKind::payload, AdapterKind::ablated));
  for (const auto* wrong : {"", "all,payload", "payload,", "Payload", "payload,payload", "payload ablated"}) {
    EXPECT_THROW(parse_adapter_kinds(wrong), base::Error) << wrong;
  }
}

}  // namespace
}  // namespace winnow::synth
