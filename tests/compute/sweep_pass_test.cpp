// Which products a pass asks of its backend, and that every backend's products are those of plain float64 loops.
#include "sweep_pass.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/recorded_sums.hpp"
#include "cpu/cpu_primitives.hpp"
#include "reference/reference_primitives.hpp"
#include "torch/plugin.hpp"

namespace winnow::compute {
namespace {

using test::DenseModule;
using test::Format;
using ::testing::ElementsAre;

/// Says what it is asked for, and computes nothing.
class Recorder final : public Primitives {
 public:
  explicit Recorder(std::vector<std::string>& said) : said_(said) {}

  bool says_squares = true, prefers_turned = false;
  double squares = 1;

  void begin(const FactorStack&, const Sweeps& sweeps) override { said_.emplace_back(sweeps.turned ? "A^T" : "B"); }
  std::optional<double> multiply(const slab::Slab&, const Product& product) override {
    said_.push_back(std::to_string(product.sweep) + ": " + name(product.out) +
                    (product.by_rows ? "[rows] = S " : " += S^T ") + name(product.x));
    return says_squares && product.sweep == 1 ? std::optional(squares) : std::nullopt;
  }
  double squared_norm() override {
    said_.emplace_back("f^2");
    return squares;
  }
  void add_up(TeamSums&, Skinny matrix) override { said_.push_back("add up " + name(matrix)); }
  void divide_p(double f) override { said_.push_back("P / " + std::to_string(static_cast<int>(f))); }
  void gram_sums(stats::ModuleStatistics&) override { said_.emplace_back("sums"); }
  std::vector<double> columns_of(Skinny, std::size_t) const override { return {}; }
  std::vector<ElementStatistics> element_statistics(const std::function<void()>&) override { return {}; }
  bool turns() const override { return prefers_turned; }
  std::string description() const override { return "recorder"; }

 private:
  static std::string name(Skinny matrix) { return matrix == Skinny::b ? "B" : matrix == Skinny::y ? "Y" : "P"; }
  std::vector<std::string>& said_;
};

/// What a pass over one slab of a small module asks for.
std::vector<std::string> asked(const Operand& operand, const std::function<void(Recorder&)>& change = {}) {
  std::mt19937_64 random(1);
  const auto module =
      DenseModule::random(random, 4, 3, {base::DType::f32, base::DType::f32, operand.stored_transposed}, {2}, 0);
  const auto stack = module.stack();
  std::vector<std::string> said;
  auto recorder = std::make_unique<Recorder>(said);
  recorder->squares = 9;
  if (change) change(*recorder);
  const auto pass = make_sweep_pass(std::move(recorder));
  test::RecordedSums team;
  pass->begin(stack, operand, Share::whole(stack));
  module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass1(slab); });
  pass->reduce_pass1(team);
  if (!operand.along) {
    module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass2(slab); });
    pass->reduce_pass2(team);
  }
  EXPECT_EQ(pass->finish().squared_norm, 9);
  return said;
}

TEST(SweepPass, AsksForTheProductsOfItsOperandAndNoOthers) {
  EXPECT_THAT(asked({}), ElementsAre("B", "1: Y += S^T B", "add up Y", "2: P[rows] = S Y", "P / 3", "sums"));
  EXPECT_THAT(asked({.stored_transposed = true}),
              ElementsAre("B", "1: Y[rows] = S B", "2: P += S^T Y", "add up P", "P / 3", "sums"));
  EXPECT_THAT(asked({.along = true}), ElementsAre("B", "1: Y += S^T B", "add up Y", "sums"));
  EXPECT_THAT(asked({.stored_transposed = true, .along = true}), ElementsAre("B", "1: Y[rows] = S B", "sums"));
}

TEST(SweepPass, TurnsTheProductOnlyWhereOneIsEnoughAndTheBackendGainsByIt) {
  const auto turns = [](Recorder& backend) { backend.prefers_turned = true; };
  EXPECT_THAT(asked({.along = true}, turns), ElementsAre("A^T", "1: P[rows] = S Y", "sums"));
  EXPECT_THAT(asked({.along = true, .keeps_y = true}, turns), ElementsAre("B", "1: Y += S^T B", "add up Y", "sums"));
  EXPECT_THAT(asked({.stored_transposed = true, .along = true}, turns), ElementsAre("B", "1: Y[rows] = S B", "sums"));
  EXPECT_EQ(asked({}, turns), asked({}));
}

TEST(SweepPass, OfWhatKeepsPOneTurnedProductIsFormedAndNoSums) {
  const auto turns = [](Recorder& backend) { backend.prefers_turned = true; };
  for (const auto& change : {std::function<void(Recorder&)>(), std::function<void(Recorder&)>(turns)}) {
    EXPECT_THAT(asked({.along = true, .keeps_p = true}, change), ElementsAre("A^T", "1: P[rows] = S Y"));
    EXPECT_THAT(asked({.stored_transposed = true, .along = true, .keeps_p = true}, change),
                ElementsAre("A^T", "1: P += S^T Y", "add up P"));
  }
}

TEST(SweepPass, WaitsForALateNormOnceAndNotBetweenSlabs) {
  const auto late = [](Recorder& backend) { backend.says_squares = false; };
  EXPECT_THAT(asked({}, late),
              ElementsAre("B", "1: Y += S^T B", "f^2", "add up Y", "2: P[rows] = S Y", "P / 3", "sums"));
  EXPECT_THAT(asked({.along = true}, late), ElementsAre("B", "1: Y += S^T B", "f^2", "add up Y", "sums"));
}

TEST(SweepPass, OneSweepWithALateNormAsksToLookAgainIfItMust) {
  for (const bool late : {false, true}) {
    for (const bool along : {false, true}) {
      for (const double squares : {1.0, 0x1p61, std::nan("")}) {
        std::vector<std::string> said;
        auto recorder = std::make_unique<Recorder>(said);
        recorder->says_squares = !late;
        recorder->squares = squares;
        std::mt19937_64 random(1);
        const auto module = DenseModule::random(random, 4, 3, {}, {2}, 0);
        const auto stack = module.stack();
        const auto pass = make_sweep_pass(std::move(recorder));
        pass->begin(stack, {.along = along});
        module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass1(slab); });
        if (!along) module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass2(slab); });
        pass->finish();
        EXPECT_EQ(pass->must_look(), late && along && squares != 1.0) << late << along << squares;
      }
    }
  }
}

TEST(SweepPass, WithoutAnAlignmentStepNothingIsDivided) {
  std::vector<std::string> said;
  auto recorder = std::make_unique<Recorder>(said);
  recorder->squares = 0;
  std::mt19937_64 random(1);
  const auto module = DenseModule::random(random, 4, 3, {}, {2}, 0);
  const auto stack = module.stack();
  const auto pass = make_sweep_pass(std::move(recorder));
  pass->begin(stack, {});
  module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass1(slab); });
  module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass2(slab); });
  pass->finish();
  EXPECT_EQ(std::count(said.begin(), said.end(), "P / 0"), 0);
}

class PrimitivesTest : public test::BackendTest {
 protected:
  std::unique_ptr<Primitives> make() const {
    return GetParam() == Backend::cpu ? make_cpu_primitives(2) : make_torch_primitives(2);
  }
};

/// Largest difference relative to the largest value.
double difference(const std::vector<double>& found, const std::vector<double>& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double worst = 0, size = 1e-300;
  for (std::size_t k = 0; k < expected.size(); ++k) {
    worst = std::max(worst, std::fabs(found[k] - expected[k]));
    size = std::max(size, std::fabs(expected[k]));
  }
  return worst / size;
}

// One product each: by rows and turned, by B and by Y, of each pair of types; several slabs, several adapters, a
// sketch.
TEST_P(PrimitivesTest, EachProductIsThatOfPlainLoops) {
  std::mt19937_64 random(2);
  test::for_each_format([&](const Format& format) {
    const auto module = DenseModule::random(random, 67, 45, format, {3, 16, 1}, 5);
    const auto stack = module.stack();
    const auto backend = make(), truth = make_reference_primitives();
    for (auto* const one : {backend.get(), truth.get()}) {
      one->begin(stack, {{.stored_transposed = format.transposed}, Share::whole(stack), false});
    }
    double squares = 0, expected_squares = 0;
    const Product first{Skinny::b, Skinny::y, format.transposed, 1, nullptr};
    module.for_each_slab({7, 30}, [&](const slab::Slab& slab) {
      squares += backend->multiply(slab, first).value();
      expected_squares += truth->multiply(slab, first).value();
    });
    EXPECT_NEAR(squares, expected_squares, 1e-6 * expected_squares);
    for (std::size_t j = 0; j < 3; ++j) {
      EXPECT_LT(difference(backend->columns_of(Skinny::b, j), truth->columns_of(Skinny::b, j)), 1e-12);
      EXPECT_LT(difference(backend->columns_of(Skinny::y, j), truth->columns_of(Skinny::y, j)), 1e-6);
    }
    const Product second{Skinny::y, Skinny::p, !format.transposed, 2, nullptr};
    module.for_each_slab({7, 30}, [&](const slab::Slab& slab) {
      backend->multiply(slab, second);
      truth->multiply(slab, second);
    });
    for (auto* const one : {backend.get(), truth.get()}) one->divide_p(2.5);
    for (std::size_t j = 0; j < 3; ++j) {
      EXPECT_LT(difference(backend->columns_of(Skinny::p, j), truth->columns_of(Skinny::p, j)), 2e-6);
    }
  });
}

TEST_P(PrimitivesTest, GramSumsAndSumsOfATeamAreThoseOfPlainLoops) {
  std::mt19937_64 random(3);
  const auto module = DenseModule::random(random, 67, 45, {base::DType::f32, base::DType::f32, false}, {3, 16}, 5);
  const auto stack = module.stack();
  const auto backend = make(), truth = make_reference_primitives();
  std::vector<stats::ModuleStatistics> found;
  for (auto* const one : {backend.get(), truth.get()}) {
    one->begin(stack, {{}, Share::whole(stack), false});
    module.for_each_slab({}, [&](const slab::Slab& slab) { one->multiply(slab, {Skinny::b, Skinny::y, false, 1}); });
    // Two members that have each seen all of it: the sums are twice those of one.
    std::vector<test::RecordedSums> team(2);
    for (auto& member : team) one->add_up(member, Skinny::y);
    test::RecordedSums::add_up(team);
    module.for_each_slab({}, [&](const slab::Slab& slab) { one->multiply(slab, {Skinny::y, Skinny::p, true, 2}); });
    found.push_back(stats::ModuleStatistics::identity(stack.ranks, stack.sketch_columns));
    one->gram_sums(found.back());
  }
  for (std::size_t j = 0; j < 2; ++j) {
    const auto &mine = found[0].layers[j], &expected = found[1].layers[j];
    EXPECT_LT(difference(mine.btb, expected.btb), 1e-6);
    EXPECT_LT(difference(mine.ptp, expected.ptp), 1e-5);
    EXPECT_LT(difference(mine.ptb, expected.ptb), 1e-5);
    EXPECT_LT(difference(mine.dtd, expected.dtd), 1e-5);
    EXPECT_LT(difference(mine.yty, expected.yty), 1e-5);
    EXPECT_LT(difference(mine.mtb, expected.mtb), 1e-5);
    EXPECT_LT(difference(mine.zta, expected.zta), 1e-5);
    EXPECT_NEAR(mine.y_a, expected.y_a, 1e-5 * std::max(1.0, std::fabs(expected.y_a)));
  }
  EXPECT_LT(difference(found[0].ztz, found[1].ztz), 1e-5);
  EXPECT_LT(difference(found[0].mtm, found[1].mtm), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Backends, PrimitivesTest, testing::Values(Backend::cpu, Backend::torch), test::backend_name);

}  // namespace
}  // namespace winnow::compute
