// The part of each attention head of <D, dW>, on every backend, alone and in teams, beside dense matrices; and that of
// two updates from their factors.
#include "winnow/compute/head_sums.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/recorded_sums.hpp"
#include "winnow/compute/cross_products.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using checkpoint::HeadRanges;
using test::DenseModule;
using test::Format;
using test::Matrix;

/// Of rows, or of columns, of the product entry by entry.
Matrix part_of(const Matrix& product, const HeadRanges& heads, std::uint64_t head) {
  const auto first = static_cast<Eigen::Index>(head * heads.width), count = static_cast<Eigen::Index>(heads.width);
  return heads.of_inputs ? Matrix(product.middleCols(first, count)) : Matrix(product.middleRows(first, count));
}

void expect_parts(const std::vector<double>& found, const DenseModule& module, const HeadRanges& heads,
                  double tolerance) {
  const Matrix v = module.v();
  ASSERT_EQ(found.size(), module.a.size() * heads.count);
  for (std::size_t j = 0; j < module.a.size(); ++j) {
    const Matrix update = module.b[j] * module.a[j], product = v.cwiseProduct(update);
    for (std::uint64_t head = 0; head < heads.count; ++head) {
      EXPECT_NEAR(found[j * heads.count + head], part_of(product, heads, head).sum(),
                  tolerance * part_of(v, heads, head).norm() * update.norm())
          << "adapter " << j << ", head " << head;
    }
  }
}

std::vector<std::pair<std::pair<Eigen::Index, Eigen::Index>, HeadRanges>> modules_with_heads() {
  return {{{64, 8}, {8, 8, false}},      {{8, 64}, {8, 8, true}},    {{40, 3}, {1, 40, false}},
          {{3, 40}, {40, 1, true}},      {{1, 1}, {1, 1, false}},    {{640, 33}, {5, 128, false}},
          {{33, 1100}, {11, 100, true}}, {{96, 513}, {32, 3, false}}};
}

class HeadSums : public test::BackendTest {
 protected:
  double tolerance() const { return test::tolerance_of(GetParam()); }
};

TEST_P(HeadSums, EqualDenseMatricesForEveryShapeAndDType) {
  std::mt19937_64 random(1);
  for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const auto& [shape, heads] : modules_with_heads()) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(testing::Message() << base::name(dtype) << " " << shape.first << " x " << shape.second
                                        << (transposed ? " transposed" : ""));
        const auto module =
            DenseModule::direction(random, shape.first, shape.second, {dtype, dtype, transposed}, {16, 3, 33});
        const auto rows = static_cast<std::uint64_t>(module.stored_rows());
        const auto cuts = rows > 2 ? std::vector<std::uint64_t>{rows / 3, rows - 1} : std::vector<std::uint64_t>{};
        const auto pass = make_alignment_pass(GetParam(), Device::cpu, 2);
        const auto stack = module.stack();
        pass->begin(stack, along_heads(transposed, heads));
        module.for_each_slab(cuts, [&](const slab::Slab& slab) { pass->pass1(slab); });
        auto statistics = pass->finish();
        const auto found = add_head_sums(*pass, stack, Share::whole(stack), heads, 2, statistics);
        expect_parts(found, module, heads, tolerance());
        // All else of a sweep along a direction is as without heads.
        test::expect_along(statistics, module, tolerance());
        for (std::size_t j = 0; j < module.a.size(); ++j) {
          double sum = 0;
          for (std::uint64_t head = 0; head < heads.count; ++head) sum += found[j * heads.count + head];
          EXPECT_NEAR(sum, statistics.layers[j].y_a, 1e-13 * module.v().norm() * (module.b[j] * module.a[j]).norm());
        }
      }
    }
  }
}

TEST_P(HeadSums, ThreadsDoNotChangeABit) {
  std::mt19937_64 random(2);
  for (const auto& [shape, heads] : modules_with_heads()) {
    const auto module = DenseModule::direction(random, shape.first, shape.second, {}, {4, 33, 7});
    const auto stack = module.stack();
    std::vector<double> expected;
    for (const int threads : {1, 2, 3, 5}) {
      const auto pass = make_alignment_pass(GetParam(), Device::cpu, threads);
      pass->begin(stack, along_heads(false, heads));
      module.for_each_slab({}, [&](const slab::Slab& slab) { pass->pass1(slab); });
      auto statistics = pass->finish();
      const auto found = add_head_sums(*pass, stack, Share::whole(stack), heads, threads, statistics);
      if (threads == 1) expected = found;
      EXPECT_EQ(found, expected) << threads;
    }
  }
}

TEST_P(HeadSums, ATeamGivesThoseOfTheWhole) {
  std::mt19937_64 random(3);
  for (const std::size_t members : {2U, 3U}) {
    for (const auto& [shape, heads] : modules_with_heads()) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(testing::Message() << members << " members, " << shape.first << " x " << shape.second
                                        << (transposed ? ", transposed" : ""));
        const Format format{DType::f32, DType::f32, transposed};
        const auto module = DenseModule::direction(random, shape.first, shape.second, format, {4, 25, 1});
        const auto rows = static_cast<std::uint64_t>(module.stored_rows());
        const auto columns = static_cast<std::uint64_t>(module.stored_columns());
        const auto cut = [&](std::uint64_t all, std::size_t m) { return all * m / members; };
        std::vector<std::uint64_t> cuts;
        for (std::size_t m = 1; m < members; ++m) cuts.push_back(cut(rows, m));
        const auto stack = module.stack();
        std::vector<std::unique_ptr<AlignmentPass>> passes;
        std::vector<test::RecordedSums> sums(members);
        std::vector<Share> shares;
        for (std::size_t m = 0; m < members; ++m) {
          const auto begin = cut(rows, m), end = cut(rows, m + 1);
          const auto other_begin = cut(columns, m), other_end = cut(columns, m + 1);
          shares.push_back(transposed ? Share{other_begin, other_end, begin, end}
                                      : Share{begin, end, other_begin, other_end});
          passes.push_back(make_alignment_pass(GetParam(), Device::cpu, 2));
          passes[m]->begin(stack, along_heads(transposed, heads), shares[m]);
          std::size_t number = 0;
          module.for_each_slab(cuts, [&](const slab::Slab& slab) {
            if (number++ == m) passes[m]->pass1(slab);
          });
          passes[m]->reduce_pass1(sums[m]);
        }
        test::RecordedSums::add_up(sums);
        stats::ModuleStatistics whole;
        std::vector<double> found(module.a.size() * heads.count);
        for (std::size_t m = 0; m < members; ++m) {
          auto part = passes[m]->finish();
          const auto mine = add_head_sums(*passes[m], stack, shares[m], heads, 2, part);
          for (std::size_t k = 0; k < found.size(); ++k) found[k] += mine[k];
          if (m == 0) {
            whole = part;
            continue;
          }
          part.squared_norm = 0;
          whole.merge(part);
        }
        expect_parts(found, module, heads, tolerance());
        test::expect_along(whole, module, tolerance());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, HeadSums, test::kBackends, test::backend_name);

TEST(HeadsOfUpdates, EqualDenseMatricesAndAddUpToTheProduct) {
  std::mt19937_64 random(4);
  for (const auto& [shape, heads] : modules_with_heads()) {
    SCOPED_TRACE(testing::Message() << shape.first << " x " << shape.second);
    const auto probes = DenseModule::direction(random, shape.first, shape.second, {}, {4, 1, 9});
    const auto adapters = DenseModule::direction(random, shape.first, shape.second, {}, {16, 3});
    const ProbeFactors factors(probes.stack(), heads), plain(probes.stack());
    for (std::size_t j = 0; j < adapters.a.size(); ++j) {
      const auto found = factors.with(adapters.stack(), j);
      EXPECT_EQ(found.dots, plain.with(adapters.stack(), j).dots) << "heads change nothing else";
      EXPECT_TRUE(plain.with(adapters.stack(), j).heads.empty());
      ASSERT_EQ(found.heads.size(), 3 * heads.count);
      const Matrix update = adapters.b[j] * adapters.a[j];
      for (std::size_t h = 0; h < probes.a.size(); ++h) {
        const Matrix probe = probes.b[h] * probes.a[h], product = probe.cwiseProduct(update);
        double sum = 0;
        for (std::uint64_t head = 0; head < heads.count; ++head) {
          const double part = found.heads[h * heads.count + head];
          EXPECT_NEAR(part, part_of(product, heads, head).sum(), 1e-12 * probe.norm() * update.norm()) << head;
          sum += part;
        }
        EXPECT_NEAR(sum, found.dots[h], 1e-12 * probe.norm() * update.norm());
      }
    }
  }
}

}  // namespace
}  // namespace winnow::compute
