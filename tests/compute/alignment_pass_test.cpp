#include "winnow/compute/alignment_pass.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "compute/dense_module.hpp"
#include "methods/layer_values.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::DenseTruth;
using test::expect_statistics;
using test::Format;
using test::Matrix;
using test::run;
using test::tolerance_of;

class AlignmentPassTest : public test::BackendTest {
 protected:
  double tolerance() const { return tolerance_of(GetParam()); }
};

TEST_P(AlignmentPassTest, EqualsDenseMatricesForEveryPairOfDTypes) {
  std::mt19937_64 random(1);
  test::for_each_format([&](const Format& format) {
    const auto module = DenseModule::random(random, 37, 29, format, {4, 1, 7}, 5);
    expect_statistics(run(GetParam(), module, {11, 12}), module, DenseTruth(module), tolerance());
  });
}

TEST_P(AlignmentPassTest, EqualsDenseMatricesForEveryShape) {
  std::mt19937_64 random(2);
  // Tall, wide, square; a row, a column, one number; more than one block of rows and of columns.
  test::for_each_shape(
      random, {{64, 8}, {8, 64}, {32, 32}, {1, 40}, {40, 1}, {1, 1}, {3, 2}, {600, 33}, {33, 600}, {257, 513}}, {16, 3},
      [&](const DenseModule& module) {
        const auto rows = static_cast<std::uint64_t>(module.stored_rows());
        const auto cuts = rows > 2 ? std::vector<std::uint64_t>{rows / 3, rows - 1} : std::vector<std::uint64_t>{};
        expect_statistics(run(GetParam(), module, cuts), module, DenseTruth(module), tolerance());
      });
}

TEST_P(AlignmentPassTest, WorksWithoutSketchWithoutAdaptersAndWithoutBoth) {
  std::mt19937_64 random(3);
  for (const auto& ranks : {std::vector<std::uint64_t>{2, 5}, std::vector<std::uint64_t>{}}) {
    for (const std::uint64_t sketch : {0, 4}) {
      SCOPED_TRACE(std::to_string(ranks.size()) + " adapters, sketch of " + std::to_string(sketch));
      const auto module = DenseModule::random(random, 21, 30, Format{}, ranks, sketch);
      expect_statistics(run(GetParam(), module, {9}), module, DenseTruth(module), tolerance());
    }
  }
}

TEST_P(AlignmentPassTest, TheSketchDoesNotTouchTheAdapters) {
  std::mt19937_64 random(4);
  auto module = DenseModule::random(random, 40, 31, Format{}, {3, 6}, 0);
  const auto without = run(GetParam(), module);
  module.sketch_columns = 8;
  const auto with = run(GetParam(), module);
  for (std::size_t j = 0; j < 2; ++j) {
    const auto same = [&](const std::vector<double>& x, const std::vector<double>& y) {
      const Matrix a = test::as_matrix(x, 1, static_cast<Eigen::Index>(x.size()));
      const Matrix b = test::as_matrix(y, 1, static_cast<Eigen::Index>(y.size()));
      EXPECT_LE((a - b).norm(), 1e-6 * a.norm());
    };
    same(without.layers[j].ptp, with.layers[j].ptp);
    same(without.layers[j].dtd, with.layers[j].dtd);
    same(without.layers[j].yty, with.layers[j].yty);
  }
}

TEST_P(AlignmentPassTest, StackedAdaptersScoreAsEachAlone) {
  std::mt19937_64 random(5);
  const std::vector<std::uint64_t> ranks{8, 1, 16, 3, 64};
  const auto all = DenseModule::random(random, 90, 70, Format{}, ranks, 4);
  const auto together = run(GetParam(), all, {50});
  for (std::size_t j = 0; j < ranks.size(); ++j) {
    auto alone = all;
    alone.a = {all.a[j]};
    alone.b = {all.b[j]};
    const auto single = run(GetParam(), alone, {50});
    const auto same = [&](const char* what, const std::vector<double>& x, const std::vector<double>& y) {
      ASSERT_EQ(x.size(), y.size());
      const Matrix a = test::as_matrix(x, 1, static_cast<Eigen::Index>(x.size()));
      const Matrix b = test::as_matrix(y, 1, static_cast<Eigen::Index>(y.size()));
      EXPECT_LE((a - b).norm(), 1e-6 * b.norm()) << what << " of adapter " << j;
    };
    const auto &found = together.layers[j], &expected = single.layers[0];
    same("btb", found.btb, expected.btb);
    same("ptp", found.ptp, expected.ptp);
    same("ptb", found.ptb, expected.ptb);
    same("dtd", found.dtd, expected.dtd);
    same("yty", found.yty, expected.yty);
    same("mtb", found.mtb, expected.mtb);
    same("zta", found.zta, expected.zta);
    same("ztz", together.ztz, single.ztz);
    same("mtm", together.mtm, single.mtm);
    EXPECT_NEAR(found.y_a, expected.y_a, 1e-6 * all.v().norm() * (all.b[j] * all.a[j]).norm());
  }
}

TEST_P(AlignmentPassTest, HandsOutItsProducts) {
  std::mt19937_64 random(26);
  test::for_each_shape(random, {{12, 20}, {33, 17}}, {2, 5}, [&](const DenseModule& module) {
    const auto stack = module.stack();
    const auto pass = compute::make_alignment_pass(GetParam(), Device::cpu, 2);
    test::run(*pass, module, stack, {4});
    const test::DenseTruth truth(module);
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      const Matrix y = truth.v.transpose() * module.b[j], p = truth.c * module.b[j];
      EXPECT_LE((test::as_matrix(pass->y(j), y.rows(), y.cols()) - y).norm(), tolerance() * y.norm());
      EXPECT_LE((test::as_matrix(pass->p(j), p.rows(), p.cols()) - p).norm(), tolerance() * p.norm());
    }
  });
}

TEST_P(AlignmentPassTest, MetricsEqualThoseOfDenseUpdates) {
  std::mt19937_64 random(6);
  const double tolerance = this->tolerance();
  for (const bool transposed : {false, true}) {
    const auto module =
        DenseModule::random(random, 48, 56, {DType::f16, DType::f32, transposed}, {4, 16}, sketch_columns(6, 48, 56));
    const auto stack = module.stack();
    const auto found = run(GetParam(), module, {20});
    const DenseTruth truth(module);
    const double f = std::sqrt(found.squared_norm);
    const metrics::SafetySubspace subspace(found.ztz, found.mtm, found.sketch_columns, 6);
    const auto values = [](const Matrix& x) { return std::vector<double>(x.data(), x.data() + x.size()); };
    const metrics::SafetySubspace dense_subspace(values(truth.z.transpose() * truth.z),
                                                 values(truth.m.transpose() * truth.m), found.sketch_columns, 6);
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      for (const double scale : {1.0, 2.0, 0.125}) {
        const auto gram = gram_a(stack, j);
        const auto metric = test::LayerValues(found.layers[j], gram, scale, 48, 56, f, &subspace);
        const Matrix update = scale * module.b[j] * module.a[j], projected = truth.c * update;
        const double distance = (projected - update).norm(), norm = update.norm();
        const double along = truth.v.cwiseProduct(update).sum();
        EXPECT_NEAR(metric["distance"], distance, tolerance * distance);
        EXPECT_NEAR(metric["rms_distance"], distance / std::sqrt(48.0 * 56.0), tolerance * distance);
        EXPECT_NEAR(metric["update_norm"], norm, tolerance * norm);
        EXPECT_NEAR(metric["projected_norm"], projected.norm(), tolerance * projected.norm());
        EXPECT_NEAR(metric["cosine"], projected.cwiseProduct(update).sum() / (projected.norm() * norm), tolerance);
        EXPECT_NEAR(metric["alignment_cosine"], along / (truth.f * norm), tolerance);
        EXPECT_NEAR(metric["alignment_removed"], -along / (truth.f * truth.f), tolerance * norm / truth.f);
        const Matrix dense_gram = scale * scale * module.a[j] * module.a[j].transpose();
        const double energy = dense_subspace.energy(metrics::Side::output, values(truth.m.transpose() * module.b[j]),
                                                    values(dense_gram), found.layers[j].rank, norm);
        EXPECT_GT(energy, 0.1);
        EXPECT_NEAR(metric["subspace_energy"], energy, GetParam() == Backend::reference ? 1e-6 : 1e-3);
      }
    }
  }
}

TEST_P(AlignmentPassTest, SecondPassConfirmsTheFirst) {
  std::mt19937_64 random(7);
  const auto module = DenseModule::random(random, 120, 80, Format{}, {8}, 0);
  const auto stack = module.stack();
  const auto gram = gram_a(stack, 0);
  const auto found = run(GetParam(), module, {33, 70});
  EXPECT_LT(
      test::LayerValues(found.layers[0], gram, 1, 120, 80, std::sqrt(found.squared_norm), nullptr)["pass_discrepancy"],
      tolerance());

  // Weights that change between the passes, here a slab read twice, do not go unseen.
  const auto pass = make_alignment_pass(GetParam(), Device::cpu, 1);
  pass->begin(stack, {});
  module.for_each_slab({60}, [&](const slab::Slab& slab) { pass->pass1(slab); });
  module.for_each_slab({60}, [&](const slab::Slab& slab) {
    auto wrong = slab;
    if (slab.row_begin == 0) wrong.aligned = slab.base;  // V = 0 there
    pass->pass2(wrong);
  });
  const auto changed = pass->finish();
  const test::LayerValues values(changed.layers[0], gram, 1, 120, 80, std::sqrt(changed.squared_norm), nullptr);
  EXPECT_GT(values["pass_discrepancy"], 0.01);
  EXPECT_GT(values["pass_discrepancy"], values["pass_discrepancy_bound"]);
}

TEST_P(AlignmentPassTest, WithoutAnAlignmentStepTheProjectionIsNothing) {
  std::mt19937_64 random(8);
  const Matrix weight = test::gaussian(random, 20, 24, 0.05);
  for (const bool transposed : {false, true}) {
    DenseModule module(weight, weight, {DType::bf16, DType::bf16, transposed});
    module.add_adapter(random, 3);
    module.sketch_columns = 4;
    const auto found = run(GetParam(), module, {7});
    EXPECT_EQ(found.squared_norm, 0);
    EXPECT_EQ(found.ztz, std::vector<double>(16, 0.0));
    EXPECT_EQ(found.mtm, std::vector<double>(16, 0.0));
    const auto& layer = found.layers[0];
    EXPECT_EQ(layer.ptp, std::vector<double>(9, 0.0));
    EXPECT_EQ(layer.ptb, std::vector<double>(9, 0.0));
    EXPECT_EQ(layer.yty, std::vector<double>(9, 0.0));
    EXPECT_EQ(layer.mtb, std::vector<double>(12, 0.0));
    EXPECT_EQ(layer.zta, std::vector<double>(12, 0.0));
    EXPECT_EQ(layer.y_a, 0);
    EXPECT_EQ(layer.dtd, layer.btb);  // D = -B
    test::expect_product("btb", layer.btb, module.b[0], module.b[0], tolerance());
  }
}

TEST_P(AlignmentPassTest, AnUpdateThatIsZeroHasNoDistance) {
  std::mt19937_64 random(9);
  auto module = DenseModule::random(random, 20, 24, Format{}, {3, 2}, 4);
  module.b[0].setZero();
  const auto found = run(GetParam(), module);
  for (const auto* sums : {&found.layers[0].btb, &found.layers[0].dtd, &found.layers[0].yty}) {
    EXPECT_EQ(*sums, std::vector<double>(9, 0.0));
  }
  EXPECT_EQ(found.layers[0].y_a, 0);
  expect_statistics(found, module, DenseTruth(module), tolerance());
}

TEST_P(AlignmentPassTest, AStepOfOneDirectionProjectsOntoIt) {
  // V = t u w^T with unit u, w: C = t u u^T, known without any matrix product.
  std::mt19937_64 random(10);
  const Matrix u = test::gaussian(random, 30, 1).normalized(), w = test::gaussian(random, 18, 1).normalized();
  const double t = 0.7;
  DenseModule module(Matrix::Zero(30, 18), t * u * w.transpose(), {DType::f64, DType::f64, false});
  module.add_adapter(random, 4);
  const auto found = run(GetParam(), module, {1, 2});
  EXPECT_NEAR(found.squared_norm, t * t, tolerance());
  const Matrix p = t * u * (u.transpose() * module.b[0]);
  test::expect_product("ptp", found.layers[0].ptp, p, p, tolerance());
  test::expect_product("dtd", found.layers[0].dtd, p - module.b[0], p - module.b[0], tolerance());
}

TEST_P(AlignmentPassTest, SmallStepsBetweenLargeWeightsAreNotCancelled) {
  // Weights of size 1, steps of one bf16 rounding: V is exact, products of whole weights would not be.
  std::mt19937_64 random(11);
  Matrix weight = test::gaussian(random, 64, 64);
  weight = weight.unaryExpr(
      [](double x) { return static_cast<double>(base::bf16_to_float(base::float_to_bf16(static_cast<float>(x)))); });
  Matrix aligned = weight;
  for (Eigen::Index k = 0; k < aligned.size(); k += 5) aligned.data()[k] *= 1 + 0x1p-7;
  DenseModule module(weight, aligned, Format{});
  module.add_adapter(random, 8);
  expect_statistics(run(GetParam(), module, {30}), module, DenseTruth(module), tolerance());
}

TEST_P(AlignmentPassTest, StepsBelowTheRoundingOfAFloatAreSeenBetweenDoubles) {
  std::mt19937_64 random(12);
  const Matrix weight = test::gaussian(random, 40, 30).cast<float>().cast<double>();
  const Matrix aligned = weight + test::gaussian(random, 40, 30, 1e-9);
  for (const auto base : {DType::f32, DType::f64}) {
    for (const bool transposed : {false, true}) {
      DenseModule module(weight, aligned, {base, DType::f64, transposed});
      module.add_adapter(random, 4);
      expect_statistics(run(GetParam(), module, {11}), module, DenseTruth(module), tolerance());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, AlignmentPassTest, test::kBackends, test::backend_name);

}  // namespace
}  // namespace winnow::compute
