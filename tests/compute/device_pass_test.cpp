// The pass for GPUs, on the processor: all of it but the streams, the kernel and the library that multiplies.
#include "torch/device_primitives.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/device_on_host.hpp"
#include "entry_windows.hpp"
#include "winnow/compute/head_sums.hpp"
#include "winnow/compute/weight_sums.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::DenseTruth;
using test::expect_statistics;
using test::Format;
using test::kPlenty;
using test::OnHost;
using testing::AllOf;
using testing::HasSubstr;

constexpr double kTolerance = 1e-5;

TEST(DevicePass, EqualsDenseMatricesForEveryPairOfDTypes) {
  std::mt19937_64 random(1);
  OnHost device;  // one for all: nothing of a module is left for the next
  test::for_each_format([&](const Format& format) {
    const auto module = DenseModule::random(random, 37, 29, format, {4, 1, 7}, 5);
    const auto stack = module.stack();
    expect_statistics(test::run(*device.pass, module, stack, {11, 12}), module, DenseTruth(module), kTolerance);
  });
}

TEST(DevicePass, EqualsDenseMatricesForEveryShapeAndManyTiles) {
  std::mt19937_64 random(2);
  OnHost device;
  test::for_each_shape(  // the last: more than one tile
      random, {{64, 8}, {8, 64}, {1, 40}, {40, 1}, {1, 1}, {257, 513}, {2100, 1600}}, {16, 3, 3},
      [&](const DenseModule& module) {
        const auto stack = module.stack();
        expect_statistics(test::run(*device.pass, module, stack), module, DenseTruth(module), kTolerance);
      });
}

TEST(DevicePass, WorksWithoutSketchWithoutAdaptersAndWithoutBoth) {
  std::mt19937_64 random(3);
  for (const auto& ranks : {std::vector<std::uint64_t>{2, 5, 5, 5, 2}, std::vector<std::uint64_t>{}}) {
    for (const std::uint64_t sketch : {0, 4}) {
      const auto module = DenseModule::random(random, 21, 30, Format{}, ranks, sketch);
      const auto stack = module.stack();
      OnHost device;
      expect_statistics(test::run(*device.pass, module, stack, {9}), module, DenseTruth(module), kTolerance);
    }
  }
}

TEST(DevicePass, AlongADirectionOrAPairEqualsDenseMatrices) {
  std::mt19937_64 random(21);
  OnHost device;
  test::for_each_single_format([&](const Format& format) {
    for (const auto& [out, in] : {std::pair<Eigen::Index, Eigen::Index>{37, 29}, {1, 40}, {40, 1}, {257, 513}}) {
      const auto module = DenseModule::direction(random, out, in, format, {4, 1, 4, 7});
      const auto stack = module.stack();
      const std::vector<std::uint64_t> cuts =
          module.stored_rows() > 12 ? std::vector<std::uint64_t>{11, 12} : std::vector<std::uint64_t>{};
      test::expect_along(test::run_along(*device.pass, module, stack, cuts), module, 1e-6);
    }
  });
  test::for_each_format([&](const Format& format) {
    const auto module = DenseModule::random(random, 37, 29, format, {4, 1, 7}, 0);
    const auto stack = module.stack();
    test::expect_along(test::run_along(*device.pass, module, stack, {11}), module, 1e-6);
  });
}

TEST(DevicePass, OfTheWeightItselfTheSumsAreThoseOfDenseMatrices) {
  std::mt19937_64 random(11);
  OnHost device;
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::direction(random, 137, 129, {DType::bf16, DType::bf16, transposed}, {4, 1, 7});
    const auto stack = module.stack();
    device.pass->begin(stack, {.stored_transposed = transposed, .along = true, .keeps_y = true});
    module.for_each_slab({11, 90}, [&](const slab::Slab& slab) { device.pass->pass1(slab); });
    auto found = device.pass->finish();
    add_weight_sums(*device.pass, stack, Share::whole(stack), 2, found);
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      const test::Matrix h = module.v().transpose() * module.b[j];
      test::expect_product("hth", found.layers[j].yty, h, h, kTolerance);
      test::expect_product("hta", found.layers[j].yta, h, module.a[j].transpose(), kTolerance);
    }
  }
}

TEST(DevicePass, OfAttentionHeadsTheSumsAreThoseOfDenseMatrices) {
  std::mt19937_64 random(13);
  OnHost device;
  for (const bool transposed : {false, true}) {
    for (const checkpoint::HeadRanges heads : {checkpoint::HeadRanges{3, 40, false}, {43, 3, true}}) {
      const auto module = DenseModule::direction(random, 120, 129, {DType::bf16, DType::bf16, transposed}, {4, 1, 7});
      const auto stack = module.stack();
      device.pass->begin(stack, along_heads(transposed, heads));
      module.for_each_slab({11, 90}, [&](const slab::Slab& slab) { device.pass->pass1(slab); });
      auto statistics = device.pass->finish();
      const auto found = add_head_sums(*device.pass, stack, Share::whole(stack), heads, 2, statistics);
      test::expect_along(statistics, module, 1e-6);
      for (std::size_t j = 0; j < module.a.size(); ++j) {
        const test::Matrix update = module.b[j] * module.a[j], product = module.v().cwiseProduct(update);
        for (std::size_t head = 0; head < heads.count; ++head) {
          const auto first = static_cast<Eigen::Index>(head * heads.width);
          const auto count = static_cast<Eigen::Index>(heads.width);
          const double expected =
              heads.of_inputs ? product.middleCols(first, count).sum() : product.middleRows(first, count).sum();
          EXPECT_NEAR(found[j * heads.count + head], expected, 1e-6 * module.v().norm() * update.norm()) << head;
        }
      }
    }
  }
}

TEST(DevicePass, OfTheWeightsOtherProductAndItsSketchTheSumsAreThoseOfDenseMatrices) {
  std::mt19937_64 random(12);
  OnHost device;
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::direction(random, 137, 129, {DType::bf16, DType::bf16, transposed}, {4, 1, 7});
    auto stack = module.stack();
    add_weight_sketch(stack, 48, 1, "up_proj");
    const auto sweep = [&](const Operand& operand) {
      device.pass->begin(stack, operand);
      module.for_each_slab({11, 90}, [&](const slab::Slab& slab) { device.pass->pass1(slab); });
      return device.pass->finish();
    };
    auto found = sweep({.stored_transposed = transposed, .along = true, .keeps_y = true});
    turn_weight_sketch(*device.pass, stack);
    sweep({.stored_transposed = transposed, .along = true, .keeps_p = true});
    add_right_sums(*device.pass, stack, 48, Share::whole(stack), 2, found);
    const test::Matrix w = module.v();
    test::Matrix omega(137, 48);
    for (Eigen::Index row = 0; row < omega.rows(); ++row) {
      for (Eigen::Index c = 0; c < 48; ++c) omega(row, c) = stack.b[static_cast<std::size_t>(row * (12 + 48) + 12 + c)];
    }
    const test::Matrix z = w.transpose() * omega, m = w * z;
    test::expect_product("ztz", found.ztz, z, z, kTolerance);
    test::expect_product("mtm", found.mtm, m, m, kTolerance);
    for (std::size_t j = 0; j < module.a.size(); ++j) {
      const test::Matrix k = w * module.a[j].transpose();
      test::expect_product("ktk", found.layers[j].ptp, k, k, kTolerance);
      test::expect_product("mtk", found.layers[j].mtp, m, k, kTolerance);
    }
  }
}

TEST(DevicePass, NoBitAlongADirectionDependsOnTheModulesBefore) {
  std::mt19937_64 random(22);
  for (const bool transposed : {false, true}) {
    const auto pair = DenseModule::random(random, 300, 260, {DType::bf16, DType::bf16, transposed}, {4, 4}, 4);
    const auto module = DenseModule::direction(random, 300, 260, {DType::f32, DType::f32, transposed}, {4, 4});
    const auto stack = module.stack(), pair_stack = pair.stack();
    OnHost device, fresh;
    const auto expected = test::bytes_of(test::run_along(*fresh.pass, module, stack, {90}));
    const auto expected_pair = test::bytes_of(test::run(*fresh.pass, pair, pair_stack, {90}));
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(test::bytes_of(test::run(*device.pass, pair, pair_stack, {90})), expected_pair);
      EXPECT_EQ(test::bytes_of(test::run_along(*device.pass, module, stack, {90})), expected);
    }
  }
}

TEST(DevicePass, FindsTheFirstWeightOfADirectionThatIsNotFinite) {
  std::mt19937_64 random(23);
  for (const bool transposed : {false, true}) {
    auto module = DenseModule::direction(random, 40, 40, {DType::f32, DType::f32, transposed}, {3});
    const float bad = std::numeric_limits<float>::quiet_NaN();
    for (const std::size_t element : {25U * 40U + 7U, 39U * 40U}) {
      std::memcpy(module.aligned.data() + element * sizeof(float), &bad, sizeof(bad));
    }
    OnHost device;
    const auto stack = module.stack();
    const auto found = test::run_along(*device.pass, module, stack, {10, 20, 30}).unusable;
    EXPECT_TRUE(found.found);
    EXPECT_TRUE(found.in_aligned);
    EXPECT_EQ(found.element, 25U * 40U + 7U);
  }
}

TEST(DevicePass, AModuleThatWasBrokenOffLeavesNothingToTheNext) {
  std::mt19937_64 random(5);
  const auto module = DenseModule::random(random, 60, 40, Format{}, {3}, 4);
  const auto other = DenseModule::random(random, 33, 70, {DType::f32, DType::f16, true}, {2, 2}, 4);
  const auto stack = module.stack(), other_stack = other.stack();
  OnHost device, fresh;
  device.pass->begin(stack, {});
  module.for_each_slab({20}, [&](const slab::Slab& slab) { device.pass->pass1(slab); });
  EXPECT_EQ(test::bytes_of(test::run(*device.pass, other, other_stack, {7, 9})),
            test::bytes_of(test::run(*fresh.pass, other, other_stack, {7, 9})));
}

TEST(DevicePass, NoBitDependsOnTheModulesBefore) {
  std::mt19937_64 random(14);
  const auto wide = DenseModule::random(random, 300, 8, Format{}, {280}, 4);         // whose tiles are large
  const auto narrow = DenseModule::random(random, 2100, 1600, Format{}, {4, 4}, 4);  // more than one tile
  const auto wide_stack = wide.stack(), stack = narrow.stack();
  OnHost device, fresh;
  test::run(*device.pass, wide, wide_stack);
  EXPECT_EQ(test::bytes_of(test::run(*device.pass, narrow, stack)),
            test::bytes_of(test::run(*fresh.pass, narrow, stack)));
}

TEST(DevicePass, FindsTheFirstWeightThatIsNotFinite) {
  std::mt19937_64 random(6);
  auto module = DenseModule::random(random, 40, 30, {DType::f32, DType::f32, false}, {3}, 4);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(module.aligned.data() + (25 * 30 + 7) * sizeof(float), &bad, sizeof(bad));
  OnHost device;
  const auto stack = module.stack();
  const auto found = test::run(*device.pass, module, stack, {10, 20, 30}).unusable;
  EXPECT_TRUE(found.found);
  EXPECT_TRUE(found.in_aligned);
  EXPECT_EQ(found.element, 25U * 30U + 7U);
}

// What is found, and f, must not depend on whether a device computed: the verdict on a module hangs on both.
TEST(DevicePass, FindsWhatIsOutOfRangeAsTheReferenceDoes) {
  std::mt19937_64 random(8);
  for (const auto dtype : {DType::f32, DType::f64}) {
    for (const double value : {0x1p30, 1.1e9, 1.85e19, -3e38, 1e-25, 1e-40, 1e-60}) {
      const test::Matrix weight = test::gaussian(random, 40, 30, 0.1);
      DenseModule module(weight, weight, {dtype, dtype, false});
      module.add_adapter(random, 2);
      const auto at = (25 * 30 + 7) * base::element_bytes(dtype);
      const double old = 0;
      for (auto* bytes : {&module.base, &module.aligned}) {
        const double put = bytes == &module.aligned ? value : old;
        const auto single = static_cast<float>(put);
        if (dtype == DType::f64) std::memcpy(bytes->data() + at, &put, sizeof(put));
        if (dtype == DType::f32) std::memcpy(bytes->data() + at, &single, sizeof(single));
      }
      SCOPED_TRACE(value);
      OnHost device;
      const auto stack = module.stack();
      const auto found = test::run(*device.pass, module, stack, {10, 20, 30});
      const auto expected = test::run(Backend::reference, module, {10, 20, 30});
      EXPECT_EQ(found.unusable.found, expected.unusable.found);
      EXPECT_EQ(found.unusable.found, std::abs(value) > 0x1p30);
      EXPECT_EQ(found.unusable.in_aligned, expected.unusable.in_aligned);
      EXPECT_EQ(found.unusable.element, expected.unusable.element);
      EXPECT_EQ(found.unusable.value, expected.unusable.value);
      if (!found.unusable.found) {
        EXPECT_DOUBLE_EQ(found.squared_norm, expected.squared_norm);
      }
    }
  }
}

void expect_element_statistics(const DenseModule& module) {
  const auto stack = module.stack();
  OnHost device;
  test::run(*device.pass, module, stack, {50});
  const auto reference = make_alignment_pass(Backend::reference, Device::cpu, 1);
  test::run(*reference, module, stack, {50});
  const auto found = device.pass->element_statistics(), expected = reference->element_statistics();
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t j = 0; j < found.size(); ++j) {
    const auto same = [&](const ElementSummary& x, const ElementSummary& y) {
      const double size = y.maximum - y.minimum;
      for (const auto member : {&ElementSummary::minimum, &ElementSummary::maximum}) {
        EXPECT_NEAR(x.*member, y.*member, 1e-5 * size);
      }
      for (const auto member : {&ElementSummary::q25, &ElementSummary::q75}) {
        EXPECT_NEAR(x.*member, y.*member, 2e-3 * (y.q75 - y.q25));
      }
      EXPECT_NEAR(x.sum, y.sum, 1e-6 * size * static_cast<double>(module.out * module.in));
    };
    same(found[j].projected, expected[j].projected);
    same(found[j].update, expected[j].update);
  }
}

TEST(DevicePass, ElementStatisticsEqualTheReference) {
  std::mt19937_64 random(7);
  expect_element_statistics(DenseModule::random(random, 130, 90, Format{}, {4, 2}, 3));
}

// More entries than a sample has: of random factors, of some whose sampled rows mislead, and mostly zeros.
TEST(DevicePass, ElementStatisticsOfALargeModuleEqualTheReference) {
  std::mt19937_64 random(12);
  auto module = DenseModule::random(random, 600, 530, Format{}, {2, 1, 3}, 0);
  for (const auto row : sampled_lines(600)) module.b[1].row(static_cast<Eigen::Index>(row)) *= 50;
  module.b[2].topRows(550).setZero();
  expect_element_statistics(module);
}

TEST(DevicePass, MeasuresWhatAReducedPrecisionCosts) {
  std::mt19937_64 random(8);
  for (const bool transposed : {false, true}) {
    const auto module = DenseModule::random(random, 300, 200, {DType::bf16, DType::bf16, transposed}, {8, 8}, 4);
    const auto stack = module.stack();
    const auto error = [&](const AlignmentPass& pass, const char* name) {
      for (const auto& [key, value] : const_cast<AlignmentPass&>(pass).device()->attributes()) {
        if (key == name) return std::stod(value);
      }
      return -1.0;
    };
    OnHost exact, reduced(kPlenty, Precision::tf32);
    const auto truth = test::run(*exact.pass, module, stack, {120});
    const auto found = test::run(*reduced.pass, module, stack, {120});
    EXPECT_EQ(error(*exact.pass, "tf32_error_pass1"), -1.0);
    for (const auto* name : {"tf32_error_pass1", "tf32_error_pass2"}) {
      EXPECT_GT(error(*reduced.pass, name), 2e-5);  // half a unit in the tenth bit, over many products
      EXPECT_LT(error(*reduced.pass, name), 1e-3);
    }
    EXPECT_EQ(found.squared_norm, truth.squared_norm) << "the difference itself stays in float32";
    expect_statistics(found, module, DenseTruth(module), 2e-3);
    // Measured once, on the first slab of the first module, and without a trace in what is computed.
    const double before = error(*reduced.pass, "tf32_error_pass1");
    EXPECT_EQ(test::bytes_of(test::run(*reduced.pass, module, stack, {120})), test::bytes_of(found));
    EXPECT_EQ(error(*reduced.pass, "tf32_error_pass1"), before);
  }
}

/// All-reduces between threads, in host memory or, as a device would, in place.
class ThreadTeam {
 public:
  explicit ThreadTeam(std::size_t members) : given_(members), barrier_(static_cast<std::ptrdiff_t>(members)) {}

  class Member final : public TeamSums {
   public:
    Member(ThreadTeam& team, std::size_t index, bool on_device) : team_(team), index_(index), on_device_(on_device) {}
    void sum(std::span<float> values) override { team_.add_up(index_, values); }
    void sum(std::span<double> values) override { team_.add_up(index_, values); }
    bool sum_on_device(const DeviceArray& array) override {
      if (!on_device_) return false;
      EXPECT_TRUE(array.finished());
      EXPECT_NE(array.stream, nullptr);
      if (array.is_double) {
        team_.add_up(index_, std::span(static_cast<double*>(array.values), array.count));
      } else {
        team_.add_up(index_, std::span(static_cast<float*>(array.values), array.count));
      }
      return true;
    }

   private:
    ThreadTeam& team_;
    std::size_t index_;
    bool on_device_;
  };

 private:
  template <class Real>
  void add_up(std::size_t member, std::span<Real> values) {
    given_[member] = values.data();
    barrier_.arrive_and_wait();
    std::vector<Real> sum(values.size(), Real{0});
    for (void* other : given_) {
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += static_cast<Real*>(other)[k];
    }
    barrier_.arrive_and_wait();
    std::copy(sum.begin(), sum.end(), values.begin());
    barrier_.arrive_and_wait();
  }

  std::vector<void*> given_;
  std::barrier<> barrier_;
};

TEST(DevicePass, ATeamGetsTheSumsOfTheWholeOnDevicesAndThroughHosts) {
  std::mt19937_64 random(9);
  constexpr std::size_t kMembers = 3;
  for (const bool on_device : {false, true}) {
    for (const int turn : {0, 1, 2, 3}) {
      const bool transposed = turn % 2 == 1;
      // The last member of some has no slab, and with that no reason to take adapters of one rank together.
      const bool idle = turn >= 2;
      const auto ranks = idle ? std::vector<std::uint64_t>{4, 4, 4} : std::vector<std::uint64_t>{4, 25, 1};
      const auto module = DenseModule::random(random, 211, 173, {DType::bf16, DType::f32, transposed}, ranks, 6);
      const auto rows = static_cast<std::uint64_t>(module.stored_rows());
      const auto columns = static_cast<std::uint64_t>(module.stored_columns());
      const auto stack = module.stack();
      const std::vector<std::uint64_t> cuts{30, idle ? rows : 90};
      ThreadTeam team(kMembers);
      std::vector<stats::ModuleStatistics> found(kMembers);
      std::vector<char> reduced(kMembers, 0);
      {
        std::vector<std::jthread> threads;
        for (std::size_t m = 0; m < kMembers; ++m) {
          threads.emplace_back([&, m] {
            OnHost device;
            ThreadTeam::Member sums(team, m, on_device);
            const std::uint64_t begin = m == 0 ? 0 : cuts[m - 1], end = m < cuts.size() ? cuts[m] : rows;
            const std::uint64_t other_begin = columns * m / kMembers, other_end = columns * (m + 1) / kMembers;
            device.pass->begin(
                stack, {.stored_transposed = transposed},
                transposed ? Share{other_begin, other_end, begin, end} : Share{begin, end, other_begin, other_end});
            const auto mine = [&](auto use) {
              std::size_t number = 0;
              module.for_each_slab(cuts, [&](const slab::Slab& slab) {
                if (number++ == m) use(slab);
              });
            };
            mine([&](const slab::Slab& slab) { device.pass->pass1(slab); });
            device.pass->complete();
            device.pass->reduce_pass1(sums);
            mine([&](const slab::Slab& slab) { device.pass->pass2(slab); });
            device.pass->complete();
            device.pass->reduce_pass2(sums);
            found[m] = device.pass->finish();
            reduced[m] = device.pass->reduce_statistics(sums, found[m]) ? 1 : 0;
          });
        }
      }
      auto whole = found[0];
      for (std::size_t m = 0; m < kMembers; ++m) {
        EXPECT_EQ(reduced[m] != 0, on_device);
        if (on_device) {
          EXPECT_EQ(test::bytes_of(found[m]), test::bytes_of(whole));
        } else if (m > 0) {
          EXPECT_EQ(found[m].squared_norm, whole.squared_norm);
          found[m].squared_norm = 0;
          whole.merge(found[m]);
        }
      }
      expect_statistics(whole, module, DenseTruth(module), kTolerance);
    }
  }
}

TEST(DevicePass, TellsOfItsDevice) {
  OnHost device(0);
  EXPECT_EQ(device.pass->device()->memory(), kPlenty / 5 * 4 >> 20U << 20U) << "80 % of what is free";
  device.pass->device()->set_memory(123 << 20);
  EXPECT_EQ(device.log->limit, 123U << 20U);
  EXPECT_EQ(device.pass->device()->identity(), "gpu");
  EXPECT_THAT(device.pass->description(), AllOf(HasSubstr("test device"), HasSubstr("float32")));
  EXPECT_EQ(make_alignment_pass(Backend::cpu, Device::cpu, 1)->device(), nullptr);
}

}  // namespace
}  // namespace winnow::compute
