#include "winnow/slab/plan.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace winnow::slab {
namespace {

ModuleTask task_of(std::uint64_t out, std::uint64_t in, base::DType base, base::DType aligned, std::uint64_t columns) {
  ModuleTask task;
  task.out_features = out;
  task.in_features = in;
  task.stacked_columns = columns;
  task.base.dtype = base;
  task.base.bytes = out * in * base::element_bytes(base);
  task.aligned.dtype = aligned;
  task.aligned.bytes = out * in * base::element_bytes(aligned);
  return task;
}

ModuleTask bf16_task(std::uint64_t out, std::uint64_t in, std::uint64_t columns = 16) {
  return task_of(out, in, base::DType::bf16, base::DType::bf16, columns);
}

/// The linear layers of Llama 3 70B: 80 times attention (grouped: 8 of 64 heads for keys and values) and MLP.
std::vector<ModuleTask> linear_layers_of_70b() {
  std::vector<ModuleTask> tasks;
  for (int layer = 0; layer < 80; ++layer) {
    for (const auto& [out, in] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
             {8192, 8192}, {1024, 8192}, {1024, 8192}, {8192, 8192}, {28672, 8192}, {28672, 8192}, {8192, 28672}}) {
      tasks.push_back(bf16_task(out, in));
    }
  }
  return tasks;
}

std::vector<double> loads(const std::vector<ModuleTask>& tasks, const std::vector<int>& owner, int ranks) {
  std::vector<double> load(static_cast<std::size_t>(ranks));
  for (std::size_t m = 0; m < tasks.size(); ++m) {
    load.at(static_cast<std::size_t>(owner[m])) += static_cast<double>(tasks[m].bytes());
  }
  return load;
}

TEST(ModuleTask, CountsRowsAndColumnsAsStored) {
  auto task = bf16_task(30, 20, 7);
  EXPECT_EQ(task.rows(), 30u);
  EXPECT_EQ(task.columns(), 20u);
  task.stored_transposed = true;
  EXPECT_EQ(task.rows(), 20u);
  EXPECT_EQ(task.columns(), 30u);
  EXPECT_EQ(task.bytes(), 2u * 30 * 20 * 2);
  EXPECT_EQ(task.flops(), 4.0 * 30 * 20 * 7);
}

TEST(ModuleTask, CountsTheSketchOfEachSweep) {
  auto task = bf16_task(30, 20, 7 + 12);
  task.sketch_columns = 12;
  EXPECT_EQ(task.flops(), 2.0 * 30 * 20 * 2 * (7 + 12));
  task.sweeps = 3;
  task.weight_sweeps = 1;
  EXPECT_EQ(task.flops(), 2.0 * 30 * 20 * (2 * (7 + 12) + 7));
  task.sweeps = 4;
  task.weight_sweeps = 2;
  task.weight_sketch_columns = 20;
  task.stacked_columns = 7 + 20;
  EXPECT_EQ(task.flops(), 2.0 * 30 * 20 * (2 * (7 + 12) + 2 * (7 + 20)));
  task.entries = true;  // of two products without a sketch
  EXPECT_EQ(task.flops(), 2.0 * 30 * 20 * (2 * (7 + 12) + 2 * (7 + 20) + 2 * 7));
}

TEST(ModuleTask, FlopsDoNotOverflow) {
  EXPECT_DOUBLE_EQ(bf16_task(1ULL << 24, 1ULL << 24, 1ULL << 20).flops(), 4.0 * 0x1p68);
}

TEST(Split, CoversEveryRowOnceInOrder) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 500; ++round) {
    auto task = task_of(1 + random() % 500, 1 + random() % 300, random() % 2 == 0 ? base::DType::f32 : base::DType::f16,
                        random() % 2 == 0 ? base::DType::f64 : base::DType::bf16, 4);
    task.stored_transposed = random() % 2 == 0;
    const std::uint64_t target = random() % 20000;
    const auto slabs = split(task, target);
    std::uint64_t next = 0;
    for (const auto& slab : slabs) {
      EXPECT_EQ(slab.row_begin, next);
      ASSERT_GE(slab.rows, 1u);
      next += slab.rows;
    }
    EXPECT_EQ(next, task.rows());
    const std::uint64_t row = task.bytes() / task.rows();
    for (std::size_t k = 0; k < slabs.size(); ++k) {
      if (slabs[k].rows > 1) {
        EXPECT_LE(slabs[k].rows * row, target);
      }
      if (k + 1 < slabs.size()) {  // as full as whole rows allow, but for the last
        EXPECT_GT((slabs[k].rows + 1) * row, target);
      }
    }
  }
}

TEST(Split, SlabsOf70BLayersAreNearTheTarget) {
  for (const auto& task : linear_layers_of_70b()) {
    const auto slabs = split(task);
    const std::uint64_t row = task.bytes() / task.rows();
    for (std::size_t k = 0; k + 1 < slabs.size(); ++k) {
      EXPECT_LE(slabs[k].rows * row, kSlabBytes);
      EXPECT_GT(slabs[k].rows * row, kSlabBytes - row);
    }
  }
}

TEST(Split, ARowLargerThanTheTargetIsASlab) {
  const auto slabs = split(bf16_task(5, 1000), 10);
  ASSERT_EQ(slabs.size(), 5u);
  for (const auto& slab : slabs) EXPECT_EQ(slab.rows, 1u);
}

/// A direction: one tensor, read once.
ModuleTask single_task(std::uint64_t out, std::uint64_t in, base::DType dtype) {
  auto task = task_of(out, in, dtype, dtype, 16);
  task.base = {};
  task.sweeps = 1;
  return task;
}

TEST(Split, ASingleTensorsSlabsAreNoLargerThanAHalfOfAPairs) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 500; ++round) {
    auto task =
        single_task(1 + random() % 500, 1 + random() % 300, random() % 2 == 0 ? base::DType::f64 : base::DType::bf16);
    task.stored_transposed = random() % 2 == 0;
    ASSERT_FALSE(task.has_base());
    const std::uint64_t target = random() % 20000, row = task.bytes() / task.rows();
    std::uint64_t next = 0;
    const auto slabs = split(task, target);
    for (std::size_t k = 0; k < slabs.size(); ++k) {
      EXPECT_EQ(slabs[k].row_begin, next);
      ASSERT_GE(slabs[k].rows, 1U);
      next += slabs[k].rows;
      if (slabs[k].rows > 1) {
        EXPECT_LE(slabs[k].rows * row, target / 2);
      }
      if (k + 1 < slabs.size()) {
        EXPECT_GT((slabs[k].rows + 1) * row, target / 2);
      }
    }
    EXPECT_EQ(next, task.rows());
  }
  // So of one dtype the rows of a slab are those of the pair's.
  const auto pair = split(bf16_task(28672, 8192)), single = split(single_task(28672, 8192, base::DType::bf16));
  ASSERT_EQ(single.size(), pair.size());
  for (std::size_t k = 0; k < pair.size(); ++k) EXPECT_EQ(single[k].rows, pair[k].rows);
}

TEST(ModuleTask, AnOperandCostsItsSweepsAndFactorsTheirSides) {
  auto task = single_task(30, 20, base::DType::f32);
  EXPECT_EQ(task.bytes(), 30U * 20 * 4);
  EXPECT_EQ(task.flops(), 2.0 * 30 * 20 * 16);
  task.aligned = {};
  task.sweeps = 0;
  task.probe_columns = 8;
  EXPECT_EQ(task.bytes(), 0U);
  EXPECT_EQ(task.flops(), 2.0 * (30 + 20) * 16 * 8);
}

TEST(Split, NothingHasNoSlabs) {
  EXPECT_TRUE(split(bf16_task(0, 7)).empty());
  EXPECT_EQ(split(bf16_task(7, 0)).size(), 1u);  // rows without bytes
}

TEST(Assign, GivesEveryModuleOneOwnerAndTheSameOneEachTime) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 100; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 9);
    std::vector<ModuleTask> tasks;
    for (std::uint64_t m = random() % 60; m > 0; --m) {
      tasks.push_back(bf16_task(1 + random() % 4000, 1 + random() % 4000, 1 + random() % 20));
    }
    const auto owner = assign(tasks, ranks);
    ASSERT_EQ(owner.size(), tasks.size());
    for (const int rank : owner) {
      EXPECT_GE(rank, 0);
      EXPECT_LT(rank, ranks);
    }
    EXPECT_EQ(assign(tasks, ranks), owner);
  }
}

TEST(Assign, StaysWithinTheBoundsOfLongestProcessingTimeFirst) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 12);
    std::vector<ModuleTask> tasks;
    for (std::uint64_t m = 1 + random() % 80; m > 0; --m) tasks.push_back(bf16_task(1 + random() % 900, 64, 1));
    const auto load = loads(tasks, assign(tasks, ranks), ranks);
    const double total = std::accumulate(load.begin(), load.end(), 0.0);
    std::vector<double> costs;
    for (const auto& task : tasks) costs.push_back(static_cast<double>(task.bytes()));
    std::sort(costs.rbegin(), costs.rend());
    // No schedule beats the mean, the largest module, or two of the ranks + 1 largest on one rank.
    const auto p = static_cast<std::size_t>(ranks);
    double optimum = std::max(total / ranks, costs.front());
    if (costs.size() > p) optimum = std::max(optimum, costs[p - 1] + costs[p]);
    const double longest = *std::max_element(load.begin(), load.end());
    EXPECT_LE(longest, total / ranks + costs.front() * (1 - 1.0 / ranks) + 1);
    // Graham's 4/3 is against the true optimum, of which we know a lower bound; 3/2 holds against that one.
    EXPECT_LE(longest, 1.5 * optimum);
  }
}

TEST(Assign, FindsTheKnownScheduleOfTwoRanks) {
  // 5 4 3 3 3: longest first gives 5+3 | 4+3+3 (10), and the later equal module goes to the lower rank on a tie.
  const std::vector<ModuleTask> tasks{bf16_task(5, 100, 1), bf16_task(4, 100, 1), bf16_task(3, 100, 1),
                                      bf16_task(3, 100, 1), bf16_task(3, 100, 1)};
  EXPECT_EQ(assign(tasks, 2), (std::vector<int>{0, 1, 1, 0, 1}));
  const std::vector<ModuleTask> equal(4, bf16_task(10, 10, 1));
  EXPECT_EQ(assign(equal, 3), (std::vector<int>{0, 1, 2, 0}));
}

TEST(Assign, SpreadsA70BEvenlyOver64Ranks) {
  const auto tasks = linear_layers_of_70b();
  const auto owner = assign(tasks, 64);
  EXPECT_LT(imbalance(tasks, owner, 64), 1.01);
  EXPECT_EQ(imbalance(tasks, assign(tasks, 1), 1), 1.0);
}

TEST(Assign, WeighsModulesWithManyColumnsByTheirArithmetic) {
  // Two wide stacks and six narrow ones of the same bytes, dealt in turn: by bytes alone the wide ones would share a
  // rank.
  std::vector<ModuleTask> tasks(8, bf16_task(512, 512, 1));
  tasks[0] = tasks[2] = bf16_task(512, 512, 4096);
  const auto owner = assign(tasks, 2);
  EXPECT_NE(owner[0], owner[2]);
  EXPECT_LT(imbalance(tasks, owner, 2), 1.01);
}

TEST(Assign, LeavesRanksWithoutWorkWhereModulesAreFew) {
  const std::vector<ModuleTask> tasks{bf16_task(10, 10), bf16_task(10, 10)};
  EXPECT_EQ(assign(tasks, 5), (std::vector<int>{0, 1}));
  EXPECT_DOUBLE_EQ(imbalance(tasks, assign(tasks, 5), 5), 2.5);
  EXPECT_TRUE(assign({}, 3).empty());
  EXPECT_EQ(imbalance({}, {}, 3), 1.0);
}

}  // namespace
}  // namespace winnow::slab
