// The scaling model: numbers worked out by hand, and what must hold whatever the constants.
#include "winnow/forecast/cost_model.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "input/tiny_family.hpp"
#include "winnow/forecast/plan.hpp"
#include "winnow/metrics/intruders.hpp"
#include "winnow/slab/plan.hpp"

namespace winnow::forecast {
namespace {

/// Round numbers: 4 cores; at R = 10, a thread that is alone does 2 GFLOP/s in pass 1 (10 ns a weight), 1 in pass 2.
CostConstants round_constants() {
  CostConstants constants;
  constants.machine = "abacus";
  constants.created_utc = "2026-01-01T00:00:00Z";
  constants.backend = "cpu";
  constants.cores = 4;
  constants.one_thread = {{10, 2e9, 1e9}, {30, 3e9, 1.5e9}};
  constants.all_threads = constants.one_thread;
  constants.cold = {"direct", 1e9, 2e9, 1};
  constants.warm = {"mmap", 10e9, 20e9, 1};
  constants.streams = 2;
  constants.factor_bytes_per_second = 1e8;
  constants.sketch_values_per_second = 1e7;
  constants.gram_seconds = 1e-9;
  constants.metric_seconds = 1e-9;
  constants.intruder_seconds = 4e-9;
  constants.entry_seconds = 1e-9;
  constants.entry_product_seconds = 1e-10;
  constants.message_seconds = 0.001;
  return constants;
}

/// 1e9 weights at R = 10: 4 GB of bf16 pair, 10 s and 20 s of one thread; 0.1 s of factors and sketch each; 4 s of sums
/// for one thread and 0.5 s of metrics.
RankWork round_work() {
  RankWork work;
  work.batches = {{1'000'000'000, 10, 2}};
  work.weight_bytes = work.read_bytes = 4'000'000'000;
  work.factor_bytes = 10'000'000;
  work.sketch_values = 1'000'000;
  work.gram_units = 4e9;
  work.metric_units = 5e8;
  return work;
}

AuditWork work_of(std::size_t ranks, const RankWork& each) {
  AuditWork work;
  work.ranks.assign(ranks, each);
  work.adapters = 1;
  work.header_seconds = 0.25;
  return work;
}

std::map<std::string, double> by_name(const Prediction& prediction) {
  std::map<std::string, double> stages;
  for (const auto& stage : prediction.stages) stages[stage.stage] = stage.seconds;
  return stages;
}

TEST(CostModel, OneRankThatComputes) {
  const auto prediction = predict(work_of(1, round_work()), round_constants(), {1, 0, 0, false});
  auto stages = by_name(prediction);
  EXPECT_DOUBLE_EQ(stages["headers"], 0.25);
  EXPECT_DOUBLE_EQ(stages["factors"], 0.2);
  EXPECT_DOUBLE_EQ(stages["pass1"], 2.5);  // 10 s over 4 threads
  EXPECT_DOUBLE_EQ(stages["pass2"], 5.0);
  EXPECT_DOUBLE_EQ(stages["statistics"], 1.5);
  EXPECT_DOUBLE_EQ(stages["read"], slab::kSlabBytes / 1e9);  // 4 s of storage hide behind 9.2 s, but for the first slab
  EXPECT_DOUBLE_EQ(stages["gather"], 0.0);
  EXPECT_DOUBLE_EQ(prediction.total, 9.45 + slab::kSlabBytes / 1e9);
  EXPECT_DOUBLE_EQ(prediction.bytes_per_second, 4e9 / prediction.total);
  EXPECT_DOUBLE_EQ(prediction.storage, 4.0);
  EXPECT_DOUBLE_EQ(prediction.arithmetic, 7.5);
  EXPECT_EQ(prediction.bottleneck, "arithmetic");
}

TEST(CostModel, IntrudersAreStatisticsOfOneThread) {
  auto work = round_work();
  work.intruder_units = 1e9;
  auto stages = by_name(predict(work_of(1, work), round_constants(), {1, 0, 0, false}));
  EXPECT_DOUBLE_EQ(stages["statistics"], 1.5 + 4.0);
}

TEST(CostModel, EntriesAreArithmeticOfAllThreads) {
  auto work = round_work();
  work.entries = 4e9;
  work.entry_products = 8e10;
  const auto prediction = predict(work_of(1, work), round_constants(), {1, 0, 0, false});
  EXPECT_DOUBLE_EQ(by_name(prediction)["elements"], (4.0 + 8.0) / 4);
  EXPECT_DOUBLE_EQ(prediction.arithmetic, 7.5 + 3.0);
  EXPECT_EQ(prediction.stages[5].stage, "elements");
  EXPECT_EQ(by_name(predict(work_of(1, round_work()), round_constants(), {1, 0, 0, false})).count("elements"), 0U);
}

TEST(CostModel, OneRankThatWaitsForStorage) {
  const auto prediction = predict(work_of(1, round_work()), round_constants(), {1, 0, 0.2e9, false});
  EXPECT_DOUBLE_EQ(prediction.storage, 20.0);
  EXPECT_DOUBLE_EQ(by_name(prediction)["read"], 20.0 - 9.2);
  EXPECT_DOUBLE_EQ(prediction.total, 20.25);  // headers, then nothing but storage
  EXPECT_EQ(prediction.bottleneck, "storage");
}

TEST(CostModel, ColumnsBetweenAndBeyondWhatWasMeasured) {
  auto work = round_work();
  const auto seconds = [&](std::uint64_t columns) {
    work.batches[0].columns = columns;
    return by_name(predict(work_of(1, work), round_constants(), {1, 1, 0, false}))["pass1"];
  };
  EXPECT_DOUBLE_EQ(seconds(10), 10.0);
  EXPECT_DOUBLE_EQ(seconds(30), 20.0);
  EXPECT_DOUBLE_EQ(seconds(20), 15.0);  // linear in R
  EXPECT_DOUBLE_EQ(seconds(60), 40.0);  // at the last 3 GFLOP/s
  EXPECT_DOUBLE_EQ(seconds(4), 10.0);   // fewer columns do not convert faster
}

TEST(CostModel, ThreadsThatDisturbEachOther) {
  auto constants = round_constants();
  for (auto& rate : constants.all_threads) rate.pass1 /= 4;  // with four, each takes four times as long
  const auto pass1 = [&](int threads) {
    return by_name(predict(work_of(1, round_work()), constants, {1, threads, 0, false}))["pass1"];
  };
  EXPECT_DOUBLE_EQ(pass1(1), 10.0);
  EXPECT_DOUBLE_EQ(pass1(2), 10.0);  // a third of the way from 10 to 40, over two threads
  EXPECT_DOUBLE_EQ(pass1(4), 10.0);
  EXPECT_DOUBLE_EQ(pass1(8), 10.0);  // there are no more cores
}

TEST(CostModel, ReadingTakesCoresThatAreBusy) {
  auto constants = round_constants();
  constants.cold.overlap = 0.75;
  const double first_slab = slab::kSlabBytes / 1e9;
  const auto read = [&](int threads, double bandwidth) {
    return by_name(predict(work_of(1, round_work()), constants, {1, threads, bandwidth, false}))["read"];
  };
  EXPECT_NEAR(read(4, 1e9), first_slab + 0.25 * (4.0 - first_slab), 1e-12);  // of the shorter: storage
  EXPECT_NEAR(read(4, 1e8), 40.0 - 9.2 + 0.25 * 7.5, 1e-12);                 // of the shorter: arithmetic
  EXPECT_NEAR(read(1, 1e9), first_slab, 1e-12);                              // there are cores for it
}

TEST(CostModel, RanksShareTheirNode) {
  const auto constants = round_constants();
  auto stages = by_name(predict(work_of(2, round_work()), constants, {2, 0, 0, false}));
  EXPECT_DOUBLE_EQ(stages["pass1"], 5.0);  // two threads each
  EXPECT_DOUBLE_EQ(stages["gather"], 0.001);
  EXPECT_DOUBLE_EQ(predict(work_of(2, round_work()), constants, {2, 0, 0, false}).storage, 4.0);    // 2 GB/s for both
  EXPECT_DOUBLE_EQ(predict(work_of(2, round_work()), constants, {2, 0, 1e9, false}).storage, 8.0);  // 1 GB/s for both
  EXPECT_DOUBLE_EQ(predict(work_of(2, round_work()), constants, {1, 0, 1e9, false}).storage, 4.0);  // two nodes
  EXPECT_DOUBLE_EQ(predict(work_of(2, round_work()), constants, {1, 0, 0, true}).storage, 0.4);     // page cache
}

TEST(CostModel, TheSlowestRankIsWaitedFor) {
  auto work = work_of(2, round_work());
  work.ranks[1].batches.push_back(work.ranks[1].batches[0]);  // 30 s more of one thread
  const auto prediction = predict(work, round_constants(), {1, 1, 0, false});
  auto stages = by_name(prediction);
  EXPECT_DOUBLE_EQ(stages["pass1"], 15.0);  // mean of 10 and 20
  EXPECT_DOUBLE_EQ(stages["pass2"], 30.0);
  EXPECT_NEAR(stages["gather"], 15.001, 1e-9);
  EXPECT_NEAR(prediction.total, 0.25 + 0.2 + slab::kSlabBytes / 1e9 + 60 + 4.5 + 0.001, 1e-9);
}

TEST(CostModel, MoreBytesNeverTakeLess) {
  double previous = 0;
  for (std::uint64_t bytes = 0; bytes <= 40'000'000'000; bytes += 500'000'000) {
    auto rank = round_work();
    rank.read_bytes = bytes;
    const double total = predict(work_of(2, rank), round_constants(), {2, 0, 0, false}).total;
    EXPECT_GE(total, previous) << bytes;
    previous = total;
  }
}

TEST(CostModel, MoreRanksNeverTakeLongerWhereStorageIsNotTheLimit) {
  const auto constants = round_constants();
  double previous = std::numeric_limits<double>::infinity();
  for (const std::uint64_t ranks : {1, 2, 4, 8, 16, 32}) {
    auto rank = round_work();
    rank.batches[0].weights /= ranks;
    rank.weight_bytes = rank.read_bytes /= ranks;
    rank.factor_bytes /= ranks;
    rank.sketch_values /= ranks;
    rank.gram_units /= static_cast<double>(ranks);
    rank.metric_units /= static_cast<double>(ranks);
    const double total = predict(work_of(ranks, rank), constants, {1, 0, 100e9, false}).total;
    EXPECT_LT(total, previous) << ranks;
    previous = total;
  }
}

TEST(CostModel, ArithmeticTakesOverFromSomeNumberOfAdapters) {
  auto constants = round_constants();
  // Columns 2 + 8 N at 3 and 1.5 GFLOP/s from R = 30 on: 2 R (1 / 3 + 1 / 1.5) = 2 R ns a weight, 2 R s over one
  // thread.
  const auto work = work_of(1, round_work());
  for (const double bandwidth : {4e9 / 200, 4e9 / 1000}) {
    const auto adapters = crossover(work, constants, {1, 1, bandwidth, false});
    ASSERT_TRUE(adapters.has_value());
    EXPECT_EQ(*adapters, static_cast<std::uint64_t>(std::floor((4e9 / bandwidth / 2 - 2) / 8)) + 1);
  }
  EXPECT_EQ(crossover(work, constants, {1, 1, 100e9, false}), 1U);
  EXPECT_EQ(crossover(work, constants, {1, 1, 1, false}), std::nullopt);  // a byte a second
  EXPECT_EQ(crossover(AuditWork{}, constants, {1, 1, 1e9, false}), std::nullopt);
}

TEST(CostModel, TheWorkOfAnAudit) {
  const test::TinyFamily family;
  auto options = family.options({family.write_adapter("one", test::TinyFamily::adapter(1)),
                                 family.write_adapter("two", test::TinyFamily::adapter(2))});
  const auto world = comm::make_self();
  const auto plan = plan_audit(options, 3, *world, base::Log());
  ASSERT_EQ(plan.work.ranks.size(), 3U);
  EXPECT_EQ(plan.work.adapters, 2U);
  EXPECT_GT(plan.work.header_seconds, 0.0);
  // Modules of 12 x 10 in float32, twice rank 2 and a sketch of 10 columns (3 * 3 + 6 are more than there are); 3, 3
  // and 2 of the 8.
  constexpr std::uint64_t kOut = 12, kIn = 10, kColumns = 2 * 2 + 10;
  for (std::size_t r = 0; r < 3; ++r) {
    const auto& rank = plan.work.ranks[r];
    const std::uint64_t modules = r < 2 ? 3 : 2;
    ASSERT_EQ(rank.batches.size(), modules);
    EXPECT_EQ(rank.batches[0].weights, kOut * kIn);
    EXPECT_EQ(rank.batches[0].columns, kColumns);
    EXPECT_EQ(rank.batches[0].sketch_columns, 10U);
    EXPECT_EQ(rank.weight_bytes, modules * 2 * kOut * kIn * sizeof(float));
    EXPECT_EQ(rank.read_bytes, rank.weight_bytes);
    EXPECT_EQ(rank.factor_bytes, modules * 2 * (kOut + kIn) * 2 * sizeof(float));
    EXPECT_EQ(rank.sketch_values, modules * kOut * 10);
    EXPECT_DOUBLE_EQ(rank.gram_units,
                     static_cast<double>(modules * 2 * (kOut * 2 * (4 * 2 + 10) + kIn * 2 * (2 + 10))));
    EXPECT_DOUBLE_EQ(rank.metric_units, static_cast<double>(modules * 2 * kIn * 2 * 2));
  }
}

// Of the aligned weights: a second sweep and a sketch of 20 columns (twice the smaller side) only if a method asks.
TEST(CostModel, WhatIsAskedOfTheWeightByNameIsCountedAndReadsNoMore) {
  const test::TinyFamily family;
  auto options = family.options({family.write_adapter("one", test::TinyFamily::adapter(1)),
                                 family.write_adapter("two", test::TinyFamily::adapter(2))});
  options.read.base.clear();
  const auto world = comm::make_self();
  const auto work_of = [&](std::uint32_t sums) {
    options.measure.sums = methods::kDefaultSums | sums;
    return plan_audit(options, 1, *world, base::Log()).work.ranks.at(0);
  };
  constexpr std::uint64_t kOut = 12, kIn = 10, kModules = 8, kSketch = 20, kLayers = 2 * kModules;
  const auto plain = work_of(methods::kWeightSums), right = work_of(methods::kWeightRightSums),
             sketched = work_of(methods::kMoreWeightSums);
  EXPECT_TRUE(plain.batches[0].weight);
  EXPECT_FALSE(plain.batches[0].right);
  EXPECT_TRUE(right.batches[0].right);
  EXPECT_EQ(right.batches[0].weight_sketch_columns, 0U);
  EXPECT_EQ(sketched.batches[0].weight_sketch_columns, kSketch);
  EXPECT_EQ(plain.sketch_values, 0U);
  EXPECT_EQ(right.sketch_values, 0U);
  EXPECT_EQ(sketched.sketch_values, kModules * kOut * kSketch);
  EXPECT_DOUBLE_EQ(right.gram_units - plain.gram_units, static_cast<double>(kLayers * kOut * 2 * 2 * 2));
  // Of W: Z^T*Z twice, once as H^T*H of one more adapter, H^T*A^T of it, and M^T*M.
  EXPECT_DOUBLE_EQ(sketched.gram_units - right.gram_units,
                   static_cast<double>(kLayers * (kOut * 2 * 2 * kSketch + kIn * 2 * kSketch) +
                                       kModules * kSketch * kSketch * (3 * kIn + kOut)));
  EXPECT_EQ(right.intruder_units, 0.0);
  EXPECT_DOUBLE_EQ(sketched.intruder_units, static_cast<double>(kLayers) * metrics::intruder_multiply_adds(2, kSketch));
  for (const auto& rank : {right, sketched}) {
    EXPECT_EQ(rank.read_bytes, plain.read_bytes);
    EXPECT_EQ(rank.weight_bytes, plain.weight_bytes);
  }
}

TEST(CostModel, EntriesOfUpdatesThatAreAskedForAreCounted) {
  const test::TinyFamily family;
  auto options = family.options({family.write_adapter("one", test::TinyFamily::adapter(1)),
                                 family.write_adapter("two", test::TinyFamily::adapter(2))});
  const auto world = comm::make_self();
  const auto work = [&] { return plan_audit(options, 1, *world, base::Log()).work.ranks.at(0); };
  EXPECT_EQ(work().entries, 0.0);
  options.measure.element_statistics = true;
  constexpr double kEntries = 2.0 * 2 * 12 * 10 * 8;  // matrices, adapters, modules
  EXPECT_DOUBLE_EQ(work().entries, kEntries);
  EXPECT_DOUBLE_EQ(work().entry_products, 2 * kEntries);
}

// Of the sums of H = W^T*B: H^T*H and H^T*A^T.
TEST(CostModel, ASweepOverTheWeightCountsItsOwnSums) {
  const test::TinyFamily family;
  auto options = family.options({family.write_adapter("one", test::TinyFamily::adapter(1))});
  const auto world = comm::make_self();
  const auto units_of = [&](std::uint32_t sums) {
    options.measure.sums = methods::kDefaultSums | sums;
    return plan_audit(options, 1, *world, base::Log()).work.ranks.at(0).gram_units;
  };
  constexpr std::uint64_t kIn = 10, kModules = 8;
  EXPECT_DOUBLE_EQ(units_of(methods::kWeightSums) - units_of(0), static_cast<double>(kModules * kIn * 2 * 2 * 2));
}

/// Multiply-adds of a product of so many rows, inner products of that length, and columns.
double product(double rows, double inner, double columns) { return rows * inner * columns; }

// Every product of find_intruders() in its order, with r = 16, m = 16, c = 48, q = 64, r + c + r = q + m = 80.
TEST(CostModel, WhatIntrudersTake) {
  double count = product(48, 16, 16);                           // along = zta * right
  count += product(48, 16, 48);                                 // along^T * along
  count += product(16, 16, 48) + product(16, 48, 48);           // right * along * beyond
  count += product(80, 80, 80) + product(80, 80, 80);           // map^T * all * map
  count += product(64, 80, 80) + product(64, 80, 64);           // joined^T * gram * joined
  count += product(64, 80, 64);                                 // joined^T * gram
  count += product(10, 64, 64) + product(10, 64, 64);           // cosines
  count += 4.5 * (48 * 48 * 48 + 64 * 64 * 64 + 64 * 64 * 64);  // what Z has beyond V, W*Q, W*Q + U*Sigma
  count += 6 * 64 * 64 * 64;                                    // the root's singular values and right vectors
  EXPECT_DOUBLE_EQ(metrics::intruder_multiply_adds(16, 48), count);
}

}  // namespace
}  // namespace winnow::forecast
