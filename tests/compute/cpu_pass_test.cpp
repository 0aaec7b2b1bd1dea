// The whole pass through every kernel this processor runs: equal to `reference`, and the same bits for any threads.
#include "cpu/cpu_primitives.hpp"
#include "sweep_pass.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "compute/dense_module.hpp"
#include "cpu/tiles.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::Format;
using test::Matrix;

class CpuPassTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (const auto& kernel : supported_kernels()) {
      if (kernel.name == GetParam()) kernel_ = &kernel;
    }
    if (kernel_ == nullptr) GTEST_SKIP() << "this processor has no " << GetParam() << ": its kernel is only compiled";
  }

  stats::ModuleStatistics run(const DenseModule& module, const FactorStack& stack,
                              const std::vector<std::uint64_t>& cuts, int threads = 2) const {
    return test::run(*make_sweep_pass(make_cpu_primitives(threads, *kernel_)), module, stack, cuts);
  }

  const Kernel* kernel_ = nullptr;
};

double trace(const std::vector<double>& gram) {
  const auto n = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(gram.size()))));
  double sum = 0;
  for (std::size_t k = 0; k < n; ++k) sum += gram[k * n + k];
  return sum;
}

/// ||found - expected|| <= 1e-6 ||X|| ||Z|| for each matrix X^T Z of the statistics.
void expect_equal(const test::DenseModule& module, const stats::ModuleStatistics& found,
                  const stats::ModuleStatistics& expected, double v_times_update) {
  constexpr double tolerance = 1e-6;
  const auto close = [&](const char* what, const std::vector<double>& x, const std::vector<double>& y, double size) {
    ASSERT_EQ(x.size(), y.size()) << what;
    const Matrix a = test::as_matrix(x, 1, static_cast<Eigen::Index>(x.size()));
    const Matrix b = test::as_matrix(y, 1, static_cast<Eigen::Index>(y.size()));
    EXPECT_LE((a - b).norm(), tolerance * size) << what;
  };
  const auto norm = [](const std::vector<double>& gram) { return std::sqrt(trace(gram)); };
  EXPECT_NEAR(found.squared_norm, expected.squared_norm, tolerance * expected.squared_norm);
  close("ztz", found.ztz, expected.ztz, trace(expected.ztz));
  close("mtm", found.mtm, expected.mtm, trace(expected.mtm));
  ASSERT_EQ(found.layers.size(), expected.layers.size());
  for (std::size_t j = 0; j < found.layers.size(); ++j) {
    const auto &x = found.layers[j], &y = expected.layers[j];
    close("btb", x.btb, y.btb, trace(y.btb));
    close("ptp", x.ptp, y.ptp, trace(y.ptp));
    close("ptb", x.ptb, y.ptb, norm(y.ptp) * norm(y.btb));
    close("dtd", x.dtd, y.dtd, trace(y.dtd));
    close("yty", x.yty, y.yty, trace(y.yty));
    close("mtb", x.mtb, y.mtb, norm(expected.mtm) * norm(y.btb));
    close("zta", x.zta, y.zta, norm(expected.ztz) * module.a[j].norm());
    EXPECT_NEAR(x.y_a, y.y_a, tolerance * v_times_update);
  }
}

TEST_P(CpuPassTest, EqualsTheReferenceForRandomShapesSlabsDtypesAndRanks) {
  std::mt19937_64 random(1);
  const std::vector<DType> dtypes{DType::bf16, DType::f16, DType::f32, DType::f64};
  for (int round = 0; round < 64; ++round) {
    const auto extent = [&] { return static_cast<Eigen::Index>(1 + random() % (round % 4 == 0 ? 600 : 70)); };
    const Format format{dtypes[static_cast<std::size_t>(round) % 4], dtypes[static_cast<std::size_t>(round) / 4 % 4],
                        round / 16 % 2 == 1};
    std::vector<std::uint64_t> ranks(random() % 4);
    for (auto& rank : ranks) rank = 1 + random() % 40;
    const auto module = DenseModule::random(random, extent(), extent(), format, ranks, random() % 11);
    std::vector<std::uint64_t> cuts;
    const auto rows = static_cast<std::uint64_t>(module.stored_rows());
    for (std::uint64_t cut = random() % 200; cut > 0 && cut < rows; cut += 1 + random() % 200) cuts.push_back(cut);
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << module.out << " x " << module.in << ", "
                                    << base::name(format.base) << "/" << base::name(format.aligned)
                                    << (format.transposed ? " transposed, " : ", ") << ranks.size() << " adapters, "
                                    << module.sketch_columns << " sketch columns, " << cuts.size() + 1 << " slabs");
    const auto stack = module.stack();
    double v_times_update = 0;
    for (std::size_t j = 0; j < ranks.size(); ++j)
      v_times_update += module.v().norm() * (module.b[j] * module.a[j]).norm();
    expect_equal(module, run(module, stack, cuts), test::run(Backend::reference, module, cuts), v_times_update);
  }
}

TEST_P(CpuPassTest, LongSumsStayAsExactAsShortOnes) {
  // Added up one after the other in float32, 60000 terms miss by several times what sums of the sums of tiles do.
  std::mt19937_64 random(2);
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::random(random, 60000, 6, {DType::bf16, DType::bf16, transposed}, {3}, 4);
    const auto stack = module.stack();
    const auto found = run(module, stack, {}), expected = test::run(Backend::reference, module);
    expect_equal(module, found, expected, module.v().norm() * (module.b[0] * module.a[0]).norm());
  }
}

TEST_P(CpuPassTest, ThreadsDoNotChangeABit) {
  std::mt19937_64 random(3);
  for (const auto& ranks : {std::vector<std::uint64_t>{16}, std::vector<std::uint64_t>{16, 5, 64}}) {
    for (const bool transposed : {false, true}) {
      const auto module = DenseModule::random(random, 1100, 1300, {DType::bf16, DType::bf16, transposed}, ranks, 8);
      const auto stack = module.stack();
      const auto expected = test::bytes_of(run(module, stack, {700}, 1));
      for (int threads = 2; threads <= 8; ++threads) {
        EXPECT_TRUE(test::bytes_of(run(module, stack, {700}, threads)) == expected) << threads << " threads";
      }
    }
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& tested) {
  return tested.param == "AVX-512" ? "AVX512" : tested.param;
}
INSTANTIATE_TEST_SUITE_P(Kernels, CpuPassTest, testing::Values("portable", "AVX2", "AVX-512"), test_name);

TEST(Kernels, TheBestIsTheWidestTheProcessorHas) {
  EXPECT_EQ(std::string(best_kernel().name), supported_kernels().back().name);
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") != 0, avx512 = __builtin_cpu_supports("avx512bw") != 0;
  EXPECT_EQ(std::string(best_kernel().name), avx512 ? "AVX-512" : avx2 ? "AVX2" : "portable");
#endif
}

TEST(Tiles, CoverTheSlabOnce) {
  for (const auto blocks : {Tiles::Blocks::of_rows, Tiles::Blocks::of_columns}) {
    for (const auto& [rows, columns] :
         std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 1}, {48, 256}, {131, 1000}}) {
      slab::Slab slab{7, rows, columns, nullptr, nullptr, DType::f32, DType::bf16};
      const Tiles tiles(slab, blocks, 24, 128);
      for (const int threads : {1, 2, 64}) {
        const auto bounds = tiles.block_bounds(3, threads);
        ASSERT_EQ(bounds.front(), 0U);
        ASSERT_EQ(bounds.back(), tiles.along());
        std::vector<int> seen(rows * columns);
        for (std::size_t block = 0; block + 1 < bounds.size(); ++block) {
          ASSERT_LT(bounds[block], bounds[block + 1]);
          EXPECT_LE(bounds[block + 1] - bounds[block], 3U);
          for (std::size_t along = bounds[block]; along < bounds[block + 1]; ++along) {
            for (std::size_t across = 0; across < tiles.across(); ++across) {
              const auto source = tiles.source(along, across);
              EXPECT_LE(source.rows, 24U);
              EXPECT_LE(source.columns, 128U);
              EXPECT_EQ(source.stride, columns);
              const std::size_t first = tiles.row(along, across) * columns + tiles.column(along, across);
              for (std::size_t r = 0; r < source.rows; ++r) {
                for (std::size_t c = 0; c < source.columns; ++c) ++seen[first + r * columns + c];
              }
            }
          }
        }
        EXPECT_EQ(seen, std::vector<int>(rows * columns, 1));
      }
    }
  }
}

}  // namespace
}  // namespace winnow::compute
