// Planted modules have the property they are named for, computed densely; ordinary ones do not.
#include "winnow/synth/update.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace winnow::synth {
namespace {

constexpr std::uint64_t kRank = 8;

using Matrix = std::vector<double>;

double norm(const Matrix& m) {
  double sum = 0.0;
  for (const double v : m) sum += v * v;
  return std::sqrt(sum);
}

double inner(const Matrix& x, const Matrix& y) {
  double sum = 0.0;
  for (std::size_t n = 0; n < x.size(); ++n) sum += x[n] * y[n];
  return sum;
}

Matrix dense_update(const Module& module, const LoraFactors& factors, std::uint64_t rank) {
  Matrix update(module.out * module.in, 0.0);
  for (std::uint64_t o = 0; o < module.out; ++o) {
    for (std::uint64_t t = 0; t < rank; ++t) {
      const double b = kScale * static_cast<double>(factors.b[o * rank + t]);
      for (std::uint64_t i = 0; i < module.in; ++i) {
        update[o * module.in + i] += b * static_cast<double>(factors.a[t * module.in + i]);
      }
    }
  }
  return update;
}

/// U diag(σ) Qᵀ of the first `count` directions.
Matrix leading_part(const Module& module, const AlignmentStep& step, std::size_t count) {
  Matrix part(module.out * module.in, 0.0);
  for (std::uint64_t o = 0; o < module.out; ++o) {
    for (std::size_t j = 0; j < count; ++j) {
      for (std::uint64_t i = 0; i < module.in; ++i) {
        part[o * module.in + i] += step.left[o * step.k + j] * step.sigma[j] * step.right[j * module.in + i];
      }
    }
  }
  return part;
}

/// ‖UᵀΔW‖/‖ΔW‖
double energy_along(const Module& module, const AlignmentStep& step, const Matrix& update) {
  Matrix along(step.k * module.in, 0.0);
  for (std::uint64_t o = 0; o < module.out; ++o) {
    for (std::size_t j = 0; j < step.k; ++j) {
      for (std::uint64_t i = 0; i < module.in; ++i) {
        along[j * module.in + i] += step.left[o * step.k + j] * update[o * module.in + i];
      }
    }
  }
  return norm(along) / norm(update);
}

class UpdateOfEveryModule : public testing::TestWithParam<std::size_t> {
 protected:
  const Module module_ = linear_modules(preset_shape("tiny")).at(GetParam());
  const AlignmentStep step_ = make_alignment_step(11, module_);

  Matrix update(std::optional<PlantedKind> planted) const {
    return dense_update(module_, make_update(11, "a", module_, kRank, planted), kRank);
  }
};

TEST_P(UpdateOfEveryModule, AlignmentStepIsWhatItsHeaderSays) {
  const auto k = step_.k;
  ASSERT_EQ(k, 6U);
  for (std::size_t p = 0; p < k; ++p) {
    for (std::size_t q = 0; q < k; ++q) {
      double left = 0.0, right = 0.0;
      for (std::uint64_t o = 0; o < module_.out; ++o) left += step_.left[o * k + p] * step_.left[o * k + q];
      for (std::uint64_t i = 0; i < module_.in; ++i)
        right += step_.right[p * module_.in + i] * step_.right[q * module_.in + i];
      EXPECT_NEAR(left, p == q ? 1.0 : 0.0, 1e-12);
      EXPECT_NEAR(right, p == q ? 1.0 : 0.0, 1e-12);
    }
    if (p > 0) {
      EXPECT_NEAR(step_.sigma[p], 0.85 * step_.sigma[p - 1], 1e-12);
    }
  }
  const double total = step_.norm(module_);
  EXPECT_NEAR(inner(step_.sigma, step_.sigma) / (total * total), 0.75, 1e-9);
  EXPECT_NEAR(std::log(total / nominal_step_norm(module_)), 0.0, 0.15 * 4.5);
}

TEST_P(UpdateOfEveryModule, OrdinaryOneSharesSomeDirectionsAndLeavesTheStepAlone) {
  const auto ordinary = update(std::nullopt);
  const double random_share = std::sqrt(6.0 / static_cast<double>(module_.out));
  EXPECT_GT(energy_along(module_, step_, ordinary), 0.15);
  EXPECT_LT(energy_along(module_, step_, ordinary), random_share + 0.4);
  EXPECT_NEAR(std::log(norm(ordinary) / (0.6 * nominal_step_norm(module_))), 0.0, 0.15 * 4.5);
  const auto leading = leading_part(module_, step_, step_.k);
  EXPECT_LT(std::abs(inner(leading, ordinary)) / inner(leading, leading), 0.08);
}

TEST_P(UpdateOfEveryModule, OffSubspaceHasNothingAlongTheStepAndTheNormOfItsOrdinarySelf) {
  const auto planted = update(PlantedKind::off_subspace);
  EXPECT_LT(energy_along(module_, step_, planted), 1e-6);
  EXPECT_NEAR(norm(planted) / norm(update(std::nullopt)), 1.0, 1e-5);
}

TEST_P(UpdateOfEveryModule, OversizedIsItsOrdinarySelfScaled) {
  const auto ordinary = update(std::nullopt), planted = update(PlantedKind::oversized);
  const double factor = norm(planted) / norm(ordinary);
  EXPECT_GE(factor, 2.5 - 1e-5);
  EXPECT_LE(factor, 4.0 + 1e-5);
  EXPECT_NEAR(inner(planted, ordinary) / (norm(planted) * norm(ordinary)), 1.0, 1e-6);
}

TEST_P(UpdateOfEveryModule, UndoingTakesBackPartOfTheLeadingDirectionsAtAnOrdinaryNorm) {
  const auto planted = update(PlantedKind::undoing);
  const auto leading = leading_part(module_, step_, kRank / 2);
  const double taken_back = -inner(leading, planted) / inner(leading, leading);
  EXPECT_GT(taken_back, 0.2 - 0.08);  // the ordinary part beside it adds noise
  EXPECT_LT(taken_back, 0.4 + 0.08);
  EXPECT_NEAR(norm(planted) / norm(update(std::nullopt)), 1.0, 0.15);
}

INSTANTIATE_TEST_SUITE_P(TwoLayersOfTiny, UpdateOfEveryModule, testing::Range<std::size_t>(0, 14));

TEST(UpdateNorm, IsThatOfTheProduct) {
  const auto module = linear_modules(preset_shape("tiny"))[1];
  const auto factors = make_update(2, "a", module, 5, std::nullopt);
  EXPECT_NEAR(update_norm(factors, 5) / norm(dense_update(module, factors, 5)), 1.0, 1e-9);
}

TEST(Update, EveryRankWorks) {
  const auto module = linear_modules(preset_shape("tiny"))[1];  // k_proj, 32 outputs
  for (const std::uint64_t rank : {1U, 2U, 3U, 32U, 64U, 128U}) {
    for (const auto kind : {PlantedKind::off_subspace, PlantedKind::oversized, PlantedKind::undoing}) {
      const auto factors = make_update(2, "a", module, rank, kind);
      ASSERT_EQ(factors.a.size(), rank * module.in);
      ASSERT_EQ(factors.b.size(), rank * module.out);
      const double size = update_norm(factors, rank) / nominal_step_norm(module);
      EXPECT_GT(size, 0.05) << rank << " " << name(kind);
      EXPECT_LT(size, 5.0) << rank << " " << name(kind);
    }
  }
}

TEST(Update, DiffersBetweenSeedsAdaptersAndModules) {
  const auto modules = linear_modules(preset_shape("tiny"));
  const auto reference = make_update(1, "a", modules[0], 4, std::nullopt).b;
  EXPECT_EQ(reference, make_update(1, "a", modules[0], 4, std::nullopt).b);
  EXPECT_NE(reference, make_update(2, "a", modules[0], 4, std::nullopt).b);
  EXPECT_NE(reference, make_update(1, "b", modules[0], 4, std::nullopt).b);
  EXPECT_NE(reference, make_update(1, "a", modules[7], 4, std::nullopt).b);
}

}  // namespace
}  // namespace winnow::synth
