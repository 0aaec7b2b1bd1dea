// The pass for GPUs, on the processor: all of it but the streams, the kernel and the library that multiplies.
#include "torch/device_pass.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/expect_error.hpp"
#include "compute/dense_module.hpp"
#include "compute/host_queue.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using base::ErrorKind;
using test::DenseModule;
using test::DenseTruth;
using test::expect_error;
using test::expect_statistics;
using test::Format;
using test::HostQueue;
using test::QueueLog;
using testing::AllOf;
using testing::HasSubstr;

constexpr double kTolerance = 1e-5;
constexpr std::uint64_t kPlenty = 4ULL << 30;

struct OnHost {
  std::shared_ptr<QueueLog> log = std::make_shared<QueueLog>();
  std::unique_ptr<AlignmentPass> pass;

  explicit OnHost(std::uint64_t memory = kPlenty, Precision precision = Precision::float32) {
    DevicePassOptions options;
    options.device_memory = memory;
    options.precision = precision;
    pass = make_device_pass(std::make_unique<HostQueue>(log, kPlenty, "gpu"), options);
  }
};

/// The least memory that is accepted, as its refusal names it.
std::uint64_t least_memory(const DenseModule& module, const std::vector<std::uint64_t>& cuts) {
  OnHost device(1 << 20);
  const auto stack = module.stack();
  try {
    test::run(*device.pass, module, stack, cuts);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    const std::string text = error.what();
    EXPECT_THAT(text,
                AllOf(HasSubstr("--device-memory is too small"), HasSubstr("at least "), HasSubstr("found 1MiB")));
    return std::stoull(text.substr(text.find("at least ") + 9)) << 20U;
  }
  ADD_FAILURE() << "1 MiB was accepted";
  return kPlenty;
}

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

TEST(DevicePass, SlabsThatFitAreCopiedOnceAndTheOthersTwiceWithTheSameResult) {
  std::mt19937_64 random(4);
  const auto module = DenseModule::random(random, 1000, 4200, {DType::f32, DType::f32, false}, {4, 4}, 3);
  const auto stack = module.stack();
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = 50; row < 1000; row += 50) cuts.push_back(row);
  const std::uint64_t bytes = 2 * 1000 * 4200 * sizeof(float), slab = bytes / 20;
  const auto least = least_memory(module, cuts);
  std::string first;
  std::map<std::uint64_t, std::uint64_t> copied;
  for (const auto memory : {least, least + 5 * slab, kPlenty}) {
    OnHost device(memory);
    EXPECT_EQ(device.log->limit, memory);
    device.pass->begin(stack, false);
    const auto sweep = [&](auto use) {
      module.for_each_slab(cuts, [&](const slab::Slab& part) {
        use(part);
        EXPECT_TRUE(device.log->copies_awaited()) << "the slab's memory is about to be reused";
      });
    };
    sweep([&](const slab::Slab& part) { device.pass->pass1(part); });
    sweep([&](const slab::Slab& part) { device.pass->pass2(part); });
    const auto found = test::bytes_of(device.pass->finish());
    if (first.empty()) first = found;
    EXPECT_EQ(found, first);
    EXPECT_TRUE(device.log->busy.empty());
    copied[memory] = device.log->copied_bytes;
  }
  EXPECT_EQ(copied[least], 2 * bytes);
  EXPECT_LT(copied[least + 5 * slab], 2 * bytes);
  EXPECT_GT(copied[least + 5 * slab], bytes);
  EXPECT_EQ(copied[kPlenty], bytes);
}

/// A slab in memory of its own, which another takes when it goes.
class Reading {
 public:
  Reading(const DenseModule& module, std::uint64_t begin, std::uint64_t end)
      : base_(part(module, module.base, module.format.base, begin, end)),
        aligned_(part(module, module.aligned, module.format.aligned, begin, end)),
        slab_{begin,
              end - begin,
              static_cast<std::uint64_t>(module.stored_columns()),
              base_.data(),
              aligned_.data(),
              module.format.base,
              module.format.aligned} {}
  ~Reading() {
    for (auto* half : {&base_, &aligned_}) std::fill(half->begin(), half->end(), std::byte{0x7B});
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  const slab::Slab& slab() const { return slab_; }
  std::uint64_t bytes() const { return base_.size() + aligned_.size(); }

 private:
  static std::vector<std::byte> part(const DenseModule& module, const std::vector<std::byte>& all, DType dtype,
                                     std::uint64_t begin, std::uint64_t end) {
    const auto row = static_cast<std::uint64_t>(module.stored_columns()) * base::element_bytes(dtype);
    return {all.begin() + static_cast<std::ptrdiff_t>(begin * row),
            all.begin() + static_cast<std::ptrdiff_t>(end * row)};
  }
  std::vector<std::byte> base_, aligned_;
  slab::Slab slab_;
};
using Readings = std::deque<std::unique_ptr<Reading>>;

Readings read(const DenseModule& module, std::uint64_t rows) {
  const auto all = static_cast<std::uint64_t>(module.stored_rows());
  Readings readings;
  for (std::uint64_t row = 0; row < all; row += rows) {
    readings.push_back(std::make_unique<Reading>(module, row, std::min(row + rows, all)));
  }
  return readings;
}

struct Run {
  std::vector<std::string> found;  ///< statistics of each module
  std::uint64_t copied_bytes = 0, preloaded_bytes = 0;
  std::size_t overtaken = 0, preloaded = 0;
};

/// One module after the other in slabs of `rows` rows, which are gone as soon as they may.
Run run_modules(const std::vector<DenseModule>& modules, std::uint64_t rows, std::uint64_t memory, bool preload) {
  OnHost device(memory);
  Run run;
  Readings now = read(modules.front(), rows), next;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const auto stack = modules[m].stack();
    device.pass->begin(stack, modules[m].format.transposed);
    for (; !now.empty(); now.pop_front()) device.pass->pass1(now.front()->slab());
    if (m + 1 < modules.size()) next = read(modules[m + 1], rows);
    std::size_t taken = 0;
    const auto offer = [&] {
      while (preload && taken < next.size() && device.pass->preload(next[taken]->slab())) {
        run.preloaded_bytes += next[taken++]->bytes();
      }
    };
    for (auto again = read(modules[m], rows); !again.empty(); again.pop_front()) {
      offer();
      device.pass->pass2(again.front()->slab());
      offer();
    }
    run.preloaded += taken;
    run.found.push_back(test::bytes_of(device.pass->finish()));
    now = std::exchange(next, {});
  }
  EXPECT_TRUE(device.log->copies_awaited());
  EXPECT_TRUE(device.log->busy.empty());
  run.copied_bytes = device.log->copied_bytes;
  run.overtaken = device.log->overtaken;
  return run;
}

TEST(DevicePass, SlabsOfTheNextModuleAreCopiedDuringPass2AndOnce) {
  std::mt19937_64 random(10);
  constexpr std::uint64_t kRows = 50;
  std::vector<DenseModule> modules;
  for (int m = 0; m < 3; ++m) {
    modules.push_back(DenseModule::random(random, 400, 4200, {DType::f32, DType::f32, false}, {4, 4}, 3));
  }
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = kRows; row < 400; row += kRows) cuts.push_back(row);
  const std::uint64_t bytes = 3 * 2 * 400 * 4200 * sizeof(float), slab = bytes / 3 / 8;
  const auto least = least_memory(modules[0], cuts);
  for (const auto memory : {least, least + 3 * slab, least + 8 * slab, least + 14 * slab, kPlenty}) {
    SCOPED_TRACE(memory);
    const auto without = run_modules(modules, kRows, memory, false), with = run_modules(modules, kRows, memory, true);
    EXPECT_EQ(with.found, without.found);
    EXPECT_EQ(with.copied_bytes, without.copied_bytes) << "early or late, but no more often";
    EXPECT_EQ(without.overtaken, 0U);
    if (memory == least) continue;  // no room but for what is computed on
    EXPECT_GT(with.preloaded, 0U);
  }
  const auto with = run_modules(modules, kRows, kPlenty, true);
  EXPECT_EQ(with.copied_bytes, bytes);
  EXPECT_EQ(with.preloaded, 16U) << "all of two modules";
  EXPECT_EQ(with.overtaken, 32U) << "both halves of each, begun before the module before was computed";
}

TEST(DevicePass, PreloadingChangesNoBitOfModulesOfAnyKind) {
  std::mt19937_64 random(11);
  const auto any = [&](int least, int most) { return std::uniform_int_distribution<int>(least, most)(random); };
  const std::vector<DType> dtypes{DType::bf16, DType::f16, DType::f32, DType::f64};
  const auto dtype = [&] { return dtypes[static_cast<std::size_t>(any(0, 3))]; };
  std::size_t preloaded = 0;
  for (int turn = 0; turn < 12; ++turn) {
    std::vector<DenseModule> modules;
    for (int m = any(2, 6); m > 0; --m) {
      std::vector<std::uint64_t> ranks(static_cast<std::size_t>(any(0, 3)), static_cast<std::uint64_t>(any(1, 40)));
      modules.push_back(
          DenseModule::random(random, any(1, 300), any(1, 900), {dtype(), dtype(), any(0, 1) == 1}, ranks, 3));
    }
    const auto rows = static_cast<std::uint64_t>(any(9, 60));
    // Libraries and the tile take 140 MiB of these, stacked matrices some.
    for (const std::uint64_t memory : {152ULL << 20U, 154ULL << 20U, 158ULL << 20U, 180ULL << 20U, 1ULL << 30U}) {
      SCOPED_TRACE(testing::Message() << "turn " << turn << ", " << (memory >> 20U) << " MiB");
      const auto without = run_modules(modules, rows, memory, false), with = run_modules(modules, rows, memory, true);
      EXPECT_EQ(with.found, without.found);
      // What the next module has no room for is given up, and copied again.
      EXPECT_LE(with.copied_bytes, without.copied_bytes + with.preloaded_bytes);
      preloaded += with.preloaded;
    }
  }
  EXPECT_GT(preloaded, 0U);
}

TEST(DevicePass, WhatWasPreloadedAndDoesNotComeIsGivenUp) {
  std::mt19937_64 random(12);
  const auto module = DenseModule::random(random, 60, 40, Format{}, {3}, 4);
  const auto other = DenseModule::random(random, 60, 40, Format{}, {2, 2}, 4);  // slabs of the same rows
  const auto stack = module.stack(), other_stack = other.stack();
  OnHost device, fresh;
  test::run(*device.pass, module, stack, {20, 40});
  auto announced = read(module, 20);
  for (const auto& reading : announced) EXPECT_TRUE(device.pass->preload(reading->slab()));
  EXPECT_EQ(test::bytes_of(test::run(*device.pass, other, other_stack, {20, 40})),
            test::bytes_of(test::run(*fresh.pass, other, other_stack, {20, 40})));

  for (const auto& reading : announced) EXPECT_TRUE(device.pass->preload(reading->slab()));
  EXPECT_FALSE(device.log->copies_awaited());
  device.pass->drop_preloaded();
  EXPECT_TRUE(device.log->copies_awaited()) << "their memory is about to go";
  announced.clear();
  EXPECT_EQ(test::bytes_of(test::run(*device.pass, other, other_stack, {20, 40})),
            test::bytes_of(test::run(*fresh.pass, other, other_stack, {20, 40})));
}

TEST(DevicePass, NothingIsPreloadedBeforeTheSlabsOfTheModuleAreThere) {
  std::mt19937_64 random(13);
  const auto module = DenseModule::random(random, 1000, 4200, {DType::f32, DType::f32, false}, {4}, 3);
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = 50; row < 1000; row += 50) cuts.push_back(row);
  const auto stack = module.stack();
  OnHost device(least_memory(module, cuts) + (50ULL << 17U));
  const Reading next(module, 0, 50);
  EXPECT_FALSE(device.pass->preload(next.slab())) << "there is no module yet";
  device.pass->begin(stack, false);
  module.for_each_slab(cuts, [&](const slab::Slab& slab) { device.pass->pass1(slab); });
  std::size_t number = 0;
  module.for_each_slab(cuts, [&](const slab::Slab& slab) {
    EXPECT_FALSE(device.pass->preload(next.slab())) << "before slab " << number << ", which is to be copied first";
    device.pass->pass2(slab);
    ++number;
  });
  EXPECT_TRUE(device.pass->preload(next.slab()));
  device.pass->finish();
  device.pass->drop_preloaded();
}

TEST(DevicePass, AModuleThatWasBrokenOffLeavesNothingToTheNext) {
  std::mt19937_64 random(5);
  const auto module = DenseModule::random(random, 60, 40, Format{}, {3}, 4);
  const auto other = DenseModule::random(random, 33, 70, {DType::f32, DType::f16, true}, {2, 2}, 4);
  const auto stack = module.stack(), other_stack = other.stack();
  OnHost device, fresh;
  device.pass->begin(stack, false);
  module.for_each_slab({20}, [&](const slab::Slab& slab) { device.pass->pass1(slab); });
  EXPECT_EQ(test::bytes_of(test::run(*device.pass, other, other_stack, {7, 9})),
            test::bytes_of(test::run(*fresh.pass, other, other_stack, {7, 9})));
}

TEST(DevicePass, FindsTheFirstWeightThatIsNotFinite) {
  std::mt19937_64 random(6);
  auto module = DenseModule::random(random, 40, 30, {DType::f32, DType::f32, false}, {3}, 4);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(module.aligned.data() + (25 * 30 + 7) * sizeof(float), &bad, sizeof(bad));
  OnHost device;
  const auto stack = module.stack();
  const auto found = test::run(*device.pass, module, stack, {10, 20, 30}).non_finite;
  EXPECT_TRUE(found.found);
  EXPECT_TRUE(found.in_aligned);
  EXPECT_EQ(found.element, 25U * 30U + 7U);
}

TEST(DevicePass, AnUnknownTypeIsRefusedAndTheCopiesAreAwaited) {
  OnHost device;
  FactorStack stack;
  stack.out_features = stack.in_features = 1;
  device.pass->begin(stack, false);
  const std::byte weight[8]{};
  slab::Slab integers;
  integers.rows = integers.columns = 1;
  integers.aligned = integers.base = weight;
  integers.aligned_dtype = integers.base_dtype = DType::i64;
  EXPECT_THROW(device.pass->pass1(integers), std::exception);
  EXPECT_TRUE(device.log->copies_awaited());
}

TEST(DevicePass, ElementStatisticsEqualTheReference) {
  std::mt19937_64 random(7);
  const auto module = DenseModule::random(random, 130, 90, Format{}, {4, 2}, 3);
  const auto stack = module.stack();
  OnHost device;
  test::run(*device.pass, module, stack, {50});
  const auto reference = make_alignment_pass(Backend::reference, Device::cpu, 1);
  test::run(*reference, module, stack, {50});
  const auto found = device.pass->element_statistics(), expected = reference->element_statistics();
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t j = 0; j < found.size(); ++j) {
    const auto same = [](const ElementSummary& x, const ElementSummary& y) {
      const double size = y.maximum - y.minimum;
      for (const auto member : {&ElementSummary::minimum, &ElementSummary::maximum}) {
        EXPECT_NEAR(x.*member, y.*member, 1e-5 * size);
      }
      for (const auto member : {&ElementSummary::q25, &ElementSummary::q75}) {
        EXPECT_NEAR(x.*member, y.*member, 2e-3 * (y.q75 - y.q25));
      }
    };
    same(found[j].projected, expected[j].projected);
    same(found[j].update, expected[j].update);
  }
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
    for (const bool transposed : {false, true}) {
      const auto module = DenseModule::random(random, 211, 173, {DType::bf16, DType::f32, transposed}, {4, 25, 1}, 6);
      const auto rows = static_cast<std::uint64_t>(module.stored_rows());
      const auto columns = static_cast<std::uint64_t>(module.stored_columns());
      const auto stack = module.stack();
      const std::vector<std::uint64_t> cuts{30, 90};
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
                stack, transposed,
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
