// Slabs in a device's memory, on the processor: what is copied when, and what is left of one module for the next.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/device_on_host.hpp"
#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::Format;
using test::kPlenty;
using test::least_memory;
using test::OnHost;

TEST(DeviceSlabs, SlabsThatFitAreCopiedOnceAndTheOthersTwiceWithTheSameResult) {
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
    device.pass->begin(stack, {});
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

/// A slab in memory of its own, which another takes when it goes: not while a device still copies from it.
class Reading {
 public:
  Reading(OnHost& device, const DenseModule& module, std::uint64_t begin, std::uint64_t end)
      : memory_(device.pass->device()->host_memory()),
        base_(module.single ? std::vector<std::byte>{} : part(module, module.base, module.format.base, begin, end)),
        aligned_(part(module, module.aligned, module.format.aligned, begin, end)),
        slab_{begin,
              end - begin,
              static_cast<std::uint64_t>(module.stored_columns()),
              module.single ? nullptr : base_.data(),
              aligned_.data(),
              module.format.base,
              module.format.aligned} {
    for (auto* half : {&base_, &aligned_}) memory_.prepare(half->data(), half->size());
  }
  ~Reading() {
    for (auto* half : {&base_, &aligned_}) {
      memory_.forget(half->data());
      std::fill(half->begin(), half->end(), std::byte{0x7B});
    }
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
  slab::HostMemory& memory_;
  std::vector<std::byte> base_, aligned_;
  slab::Slab slab_;
};
using Readings = std::deque<std::unique_ptr<Reading>>;

Readings read(OnHost& device, const DenseModule& module, std::uint64_t rows) {
  const auto all = static_cast<std::uint64_t>(module.stored_rows());
  Readings readings;
  for (std::uint64_t row = 0; row < all; row += rows) {
    readings.push_back(std::make_unique<Reading>(device, module, row, std::min(row + rows, all)));
  }
  return readings;
}

struct Run {
  std::vector<std::string> found;  ///< statistics of each module
  std::uint64_t copied_bytes = 0, preloaded_bytes = 0;
  std::size_t overtaken = 0, preloaded = 0;
};

/// One module after the other in slabs of `rows` rows, which are gone as soon as they may.
Run run_modules(OnHost& device, const std::vector<DenseModule>& modules, std::uint64_t rows, bool preload) {
  Run run;
  Readings now = read(device, modules.front(), rows), next;
  struct Dropping {
    AlignmentPass& pass;
    ~Dropping() { pass.drop_preloaded(); }
  } const dropping{*device.pass};  // before what was read goes
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const auto stack = modules[m].stack();
    const bool along = modules[m].single;
    device.pass->begin(stack, {.stored_transposed = modules[m].format.transposed, .along = along});
    for (; !now.empty(); now.pop_front()) device.pass->pass1(now.front()->slab());
    if (m + 1 < modules.size()) next = read(device, modules[m + 1], rows);
    std::size_t taken = 0;
    const auto offer = [&] {
      while (preload && taken < next.size() && device.pass->preload(next[taken]->slab())) {
        run.preloaded_bytes += next[taken++]->bytes();
      }
    };
    for (auto again = along ? Readings{} : read(device, modules[m], rows); !again.empty(); again.pop_front()) {
      offer();
      device.pass->pass2(again.front()->slab());
      offer();
    }
    run.preloaded += taken;
    run.found.push_back(test::bytes_of(device.pass->finish()));
    now = std::exchange(next, {});
  }
  EXPECT_TRUE(device.log->copies_awaited());
  if (!modules.back().single) {  // of a direction slots are kept until the next module begins
    EXPECT_TRUE(device.log->busy.empty());
  }
  run.copied_bytes = device.log->copied_bytes;
  run.overtaken = device.log->overtaken;
  return run;
}

Run run_modules(const std::vector<DenseModule>& modules, std::uint64_t rows, std::uint64_t memory, bool preload) {
  OnHost device(memory);
  return run_modules(device, modules, rows, preload);
}

TEST(DeviceSlabs, SlabsOfTheNextModuleAreCopiedDuringPass2AndOnce) {
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

TEST(DeviceSlabs, PreloadingChangesNoBitOfModulesOfAnyKind) {
  std::mt19937_64 random(11);
  const auto any = [&](int least, int most) { return std::uniform_int_distribution<int>(least, most)(random); };
  const std::vector<DType> dtypes{DType::bf16, DType::f16, DType::f32, DType::f64};
  const auto dtype = [&] { return dtypes[static_cast<std::size_t>(any(0, 3))]; };
  std::size_t preloaded = 0;
  for (int turn = 0; turn < 12; ++turn) {
    std::vector<DenseModule> modules;
    for (int m = any(2, 6); m > 0; --m) {
      if (turn % 2 == 1 && any(0, 1) == 1) {  // a direction, which goes by once
        const auto stored = dtype();
        modules.push_back(DenseModule::direction(random, any(1, 300), any(1, 900), {stored, stored, any(0, 1) == 1},
                                                 {static_cast<std::uint64_t>(any(1, 40)), 3}));
        continue;
      }
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
      for (std::size_t m = 0; m < modules.size(); ++m) {
        if (!modules[m].single) continue;
        base::ByteReader in(with.found[m]);
        test::expect_along(stats::ModuleStatistics::deserialise(in), modules[m], 1e-6);
      }
      // What the next module has no room for is given up, and copied again.
      EXPECT_LE(with.copied_bytes, without.copied_bytes + with.preloaded_bytes);
      preloaded += with.preloaded;
    }
  }
  EXPECT_GT(preloaded, 0U);
}

TEST(DeviceSlabs, WhatWasPreloadedAndDoesNotComeIsGivenUp) {
  std::mt19937_64 random(12);
  const auto module = DenseModule::random(random, 60, 40, Format{}, {3}, 4);
  const auto other = DenseModule::random(random, 60, 40, Format{}, {2, 2}, 4);  // slabs of the same rows
  const auto stack = module.stack(), other_stack = other.stack();
  OnHost device, fresh;
  test::run(*device.pass, module, stack, {20, 40});
  auto announced = read(device, module, 20);
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

TEST(DeviceSlabs, NothingIsPreloadedBeforeTheSlabsOfTheModuleAreThere) {
  std::mt19937_64 random(13);
  const auto module = DenseModule::random(random, 1000, 4200, {DType::f32, DType::f32, false}, {4}, 3);
  std::vector<std::uint64_t> cuts;
  for (std::uint64_t row = 50; row < 1000; row += 50) cuts.push_back(row);
  const auto stack = module.stack();
  OnHost device(least_memory(module, cuts) + (50ULL << 17U));
  const Reading next(device, module, 0, 50);
  EXPECT_FALSE(device.pass->preload(next.slab())) << "there is no module yet";
  device.pass->begin(stack, {});
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

TEST(DeviceSlabs, WhatMemoryIsEnoughForDoesNotDependOnTheModulesBefore) {
  std::mt19937_64 random(15);
  const auto large_slab = DenseModule::random(random, 1000, 4200, {DType::f32, DType::f32, false}, {1}, 0);
  const auto large_stack = DenseModule::random(random, 1000, 1000, Format{}, {600, 600}, 0);
  const std::uint64_t slab = 2 * 1000 * 4200 * sizeof(float);
  const std::vector<std::uint64_t> cuts{250, 500, 750};
  const auto first = large_slab.stack(), second = large_stack.stack();
  // Beside the second module there is no room for a slab of the first, then for one, for two and for three.
  for (std::uint64_t memory = least_memory(large_stack, cuts), k = 0; k < 4; ++k, memory += slab / 15 * 16) {
    SCOPED_TRACE(memory);
    OnHost device(memory), fresh(memory);
    test::run(*device.pass, large_slab, first);
    EXPECT_EQ(test::bytes_of(test::run(*device.pass, large_stack, second, cuts)),
              test::bytes_of(test::run(*fresh.pass, large_stack, second, cuts)));
  }
}

TEST(DeviceSlabs, AFailureLeavesNoCopyUnawaitedAndNothingToTheNextModule) {
  std::mt19937_64 random(16);
  std::vector<DenseModule> modules;
  for (int m = 0; m < 2; ++m) modules.push_back(DenseModule::random(random, 900, 1600, Format{}, {3}, 4));
  constexpr std::uint64_t kRows = 300;
  const auto least = least_memory(modules[0], {300, 600});
  for (const auto memory : {least, least + (std::uint64_t{5} << 20U), kPlenty}) {
    const auto expected = run_modules(modules, kRows, memory, true).found;
    for (int failing = 1; failing <= 12; ++failing) {
      SCOPED_TRACE(testing::Message() << "computation " << failing << " with " << (memory >> 20U) << " MiB");
      OnHost device(memory);
      int computed = 0;
      device.log->computing = [&] {
        if (++computed == failing) throw base::Error(base::ErrorKind::runtime, "this computation fails");
      };
      EXPECT_THROW(run_modules(device, modules, kRows, true), base::Error);
      EXPECT_TRUE(device.log->copies_awaited());
      EXPECT_EQ(run_modules(device, modules, kRows, true).found, expected);
    }
  }
}

TEST(DeviceSlabs, AnUnknownTypeIsRefusedAndTheCopiesAreAwaited) {
  OnHost device;
  FactorStack stack;
  stack.out_features = stack.in_features = 1;
  device.pass->begin(stack, {});
  const std::byte weight[8]{};
  slab::Slab integers;
  integers.rows = integers.columns = 1;
  integers.aligned = integers.base = weight;
  integers.aligned_dtype = integers.base_dtype = DType::i64;
  EXPECT_THROW(device.pass->pass1(integers), std::exception);
  EXPECT_TRUE(device.log->copies_awaited());
}

}  // namespace
}  // namespace winnow::compute
