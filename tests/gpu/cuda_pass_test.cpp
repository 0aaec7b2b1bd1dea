// The alignment pass on a GPU against dense float64 matrices and the reference backend.
#include <gmock/gmock.h>

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "compute/dense_module.hpp"
#include "methods/layer_values.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using base::ErrorKind;
using test::DenseModule;
using test::DenseTruth;
using test::expect_statistics;
using test::Format;
using testing::HasSubstr;

constexpr double kTolerance = 1e-5;

class CudaPass : public testing::Test {
 protected:
  void SetUp() override {
    const auto status = cuda_status();
    if (status.devices == 0) GTEST_SKIP() << "no CUDA device here (driver says: " << status.driver_says << ")";
  }

  static std::unique_ptr<AlignmentPass> make(Precision precision = Precision::float32,
                                             std::uint64_t memory = 2ULL << 30) {
    PassOptions options;
    options.backend = Backend::torch;
    options.device = Device::cuda;
    options.precision = precision;
    options.device_memory = memory;
    return make_alignment_pass(options);
  }
};

/// Metrics of every adapter within `tolerance`, relative, of the reference backend's.
void expect_metrics(const stats::ModuleStatistics& found, const DenseModule& module, double tolerance) {
  const auto stack = module.stack();
  const auto truth = test::run(Backend::reference, module);
  const auto metrics_of = [&](const stats::ModuleStatistics& statistics, std::size_t j) {
    return test::LayerValues(statistics.layers[j], gram_a(stack, j), 2.0, stack.out_features, stack.in_features,
                             std::sqrt(statistics.squared_norm), nullptr);
  };
  for (std::size_t j = 0; j < found.layers.size(); ++j) {
    const auto mine = metrics_of(found, j), theirs = metrics_of(truth, j);
    for (const auto* dataset : {"distance", "rms_distance", "update_norm", "projected_norm", "cosine"}) {
      EXPECT_NEAR(mine[dataset], theirs[dataset], tolerance * std::abs(theirs[dataset]));
    }
    // Sums of both signs: relative to what they are sums of.
    EXPECT_NEAR(mine["alignment_cosine"], theirs["alignment_cosine"], tolerance);
  }
}

TEST_F(CudaPass, EqualsDenseMatricesForEveryPairOfDTypes) {
  std::mt19937_64 random(1);
  const auto pass = make();
  test::for_each_format([&](const Format& format) {
    const auto module = DenseModule::random(random, 320, 264, format, {16, 1, 7}, 8);
    const auto stack = module.stack();
    const auto found = test::run(*pass, module, stack, {11, 128});
    expect_statistics(found, module, DenseTruth(module), kTolerance);
    expect_metrics(found, module, kTolerance);
  });
}

TEST_F(CudaPass, EqualsDenseMatricesForEveryShape) {
  std::mt19937_64 random(2);
  const auto pass = make();
  test::for_each_shape(random, {{64, 8}, {8, 64}, {1, 40}, {40, 1}, {1, 1}, {257, 513}, {513, 1031}}, {16, 3, 3},
                       [&](const DenseModule& module) {
                         const auto stack = module.stack();
                         expect_statistics(test::run(*pass, module, stack), module, DenseTruth(module), kTolerance);
                       });
}

TEST_F(CudaPass, ManyColumnsAndManyTiles) {
  std::mt19937_64 random(3);
  const auto module =
      DenseModule::random(random, 1500, 2100, Format{}, std::vector<std::uint64_t>(40, 16), 8);  // 648 columns
  const auto stack = module.stack();
  const auto pass = make();
  expect_statistics(test::run(*pass, module, stack, {700, 1400}), module, DenseTruth(module), kTolerance);
}

TEST_F(CudaPass, GivesTheSameBitsHoweverSlabsWereKeptAndCopied) {
  std::mt19937_64 random(4);
  const auto module = DenseModule::random(random, 1024, 2048, {DType::f32, DType::f32, false}, {16, 16}, 8);
  const auto stack = module.stack();
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = 64; row < 1024; row += 64) cuts.push_back(row);
  std::string first;
  for (const std::uint64_t mebibytes : {156, 162, 2048}) {
    const auto pass = make(Precision::float32, mebibytes << 20U);
    for (int round = 0; round < 3; ++round) {
      const auto found = test::bytes_of(test::run(*pass, module, stack, cuts));
      if (first.empty()) first = found;
      EXPECT_EQ(found, first) << mebibytes << " MiB, round " << round;
    }
    EXPECT_LE(pass->device()->peak_memory(), mebibytes << 20U);
    EXPECT_GT(pass->device()->peak_memory(), 0U);
  }
}

TEST_F(CudaPass, CopiesFromPageLockedMemoryThatIsReusedAtOnce) {
  std::mt19937_64 random(5);
  const auto module = DenseModule::random(random, 2048, 1024, Format{}, {8}, 8);
  const auto stack = module.stack();
  const auto pass = make();
  slab::AlignedBuffer base, aligned;
  const std::uint64_t rows = 128, row = 1024 * 2;
  base.reserve(rows * row, &pass->device()->host_memory());
  aligned.reserve(rows * row, &pass->device()->host_memory());
  pass->begin(stack, {});
  for (const bool first : {true, false}) {
    for (std::uint64_t begin = 0; begin < 2048; begin += rows) {
      std::memcpy(base.data(), module.base.data() + begin * row, rows * row);
      std::memcpy(aligned.data(), module.aligned.data() + begin * row, rows * row);
      const slab::Slab slab{begin, rows, 1024, base.data(), aligned.data(), DType::bf16, DType::bf16};
      first ? pass->pass1(slab) : pass->pass2(slab);
      std::memset(base.data(), 0x7F, rows * row);
      std::memset(aligned.data(), 0x7F, rows * row);
    }
  }
  expect_statistics(pass->finish(), module, DenseTruth(module), kTolerance);
}

TEST_F(CudaPass, GivesTheSameBitsWhereSlabsOfTheNextModuleArePreloaded) {
  std::mt19937_64 random(10);
  constexpr std::uint64_t kRows = 2048, kColumns = 1024, kSlab = 256, kRow = kColumns * 2;
  std::vector<DenseModule> modules;
  for (int m = 0; m < 3; ++m) modules.push_back(DenseModule::random(random, kRows, kColumns, Format{}, {8, 16}, 8));
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = kSlab; row < kRows; row += kSlab) cuts.push_back(row);
  struct Source {
    slab::AlignedBuffer base, aligned;
    slab::Slab slab;
  };
  for (const std::uint64_t mebibytes : {162, 2048}) {
    const auto pass = make(Precision::float32, mebibytes << 20U), alone = make();
    const auto read = [&](const DenseModule& module) {  // page-locked memory of its own for each slab
      std::vector<Source> sources(kRows / kSlab);
      for (std::uint64_t k = 0; k < sources.size(); ++k) {
        auto& [base, aligned, slab] = sources[k];
        for (auto* half : {&base, &aligned}) half->reserve(kSlab * kRow, &pass->device()->host_memory());
        std::memcpy(base.data(), module.base.data() + k * kSlab * kRow, kSlab * kRow);
        std::memcpy(aligned.data(), module.aligned.data() + k * kSlab * kRow, kSlab * kRow);
        slab = {k * kSlab, kSlab, kColumns, base.data(), aligned.data(), DType::bf16, DType::bf16};
      }
      return sources;
    };
    std::size_t preloaded = 0;
    auto sources = read(modules[0]);
    for (std::size_t m = 0; m < modules.size(); ++m) {
      const auto stack = modules[m].stack();
      pass->begin(stack, {});
      for (auto& source : sources) {
        pass->pass1(source.slab);
        std::memset(source.base.data(), 0x7F, kSlab * kRow);
        std::memset(source.aligned.data(), 0x7F, kSlab * kRow);
      }
      const auto again = read(modules[m]);
      sources = read(modules[(m + 1) % modules.size()]);
      std::size_t taken = 0;
      for (const auto& source : again) {
        while (taken < sources.size() && pass->preload(sources[taken].slab)) ++taken;
        pass->pass2(source.slab);
      }
      preloaded += taken;
      const auto found = test::bytes_of(pass->finish());
      EXPECT_EQ(found, test::bytes_of(test::run(*alone, modules[m], stack, cuts))) << mebibytes << " MiB, module " << m;
    }
    EXPECT_GT(preloaded, 0U);
    pass->drop_preloaded();  // of the module after the last
  }
}

TEST_F(CudaPass, FindsTheFirstWeightThatIsNotFinite) {
  std::mt19937_64 random(6);
  auto module = DenseModule::random(random, 400, 300, {DType::f32, DType::f32, false}, {3}, 4);
  const float bad = std::numeric_limits<float>::infinity();
  std::memcpy(module.base.data() + (250 * 300 + 7) * sizeof(float), &bad, sizeof(bad));
  const auto stack = module.stack();
  const auto pass = make();
  const auto found = test::run(*pass, module, stack, {100, 200, 300}).unusable;
  EXPECT_TRUE(found.found);
  EXPECT_FALSE(found.in_aligned);
  EXPECT_EQ(found.element, 250U * 300U + 7U);
}

TEST_F(CudaPass, MeasuresWhatTf32Costs) {
  std::mt19937_64 random(7);
  const auto module = DenseModule::random(random, 1024, 1024, Format{}, {16, 16}, 8);
  const auto stack = module.stack();
  const auto pass = make(Precision::tf32);
  expect_statistics(test::run(*pass, module, stack), module, DenseTruth(module), 5e-3);
  int measured = 0;
  for (const auto& [name, value] : pass->device()->attributes()) {
    if (!name.starts_with("tf32_error")) continue;
    ++measured;
    EXPECT_GT(std::stod(value), 0.0) << name;
    EXPECT_LT(std::stod(value), 5e-3) << name;
  }
  EXPECT_EQ(measured, 2);
}

TEST_F(CudaPass, ElementStatisticsEqualTheReference) {
  std::mt19937_64 random(8);
  const auto module = DenseModule::random(random, 130, 90, Format{}, {4, 2}, 3);
  const auto stack = module.stack();
  const auto pass = make(), reference = make_alignment_pass(Backend::reference, Device::cpu, 1);
  test::run(*pass, module, stack);
  test::run(*reference, module, stack);
  const auto found = pass->element_statistics(), expected = reference->element_statistics();
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t j = 0; j < found.size(); ++j) {
    const double size = expected[j].projected.maximum - expected[j].projected.minimum;
    EXPECT_NEAR(found[j].projected.maximum, expected[j].projected.maximum, 1e-5 * size);
    EXPECT_NEAR(found[j].projected.q25, expected[j].projected.q25, 2e-3 * size);
  }
}

TEST_F(CudaPass, MemoryThatIsTooSmallIsRefusedWithTheRightSize) {
  std::mt19937_64 random(9);
  const auto module = DenseModule::random(random, 64, 64, Format{}, {4}, 4);
  const auto stack = module.stack();
  const auto pass = make(Precision::float32, 120ULL << 20);
  test::expect_error(ErrorKind::usage, HasSubstr("--device-memory is too small"),
                     [&] { test::run(*pass, module, stack); });
}

}  // namespace
}  // namespace winnow::compute
