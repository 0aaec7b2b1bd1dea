#include "winnow/division/team_plan.hpp"

#include <gtest/gtest.h>

#include <random>

namespace winnow::division {
namespace {

run::Means with_team(int team) {
  run::Means means;
  means.team = team;
  return means;
}

TEST(TeamPlan, RanksShareModulesOnlyWhereThereAreMoreOfThemOrTheyAreTold) {
  run::Measuring of_elements;
  of_elements.element_statistics = true;
  EXPECT_EQ(team_members(with_team(0), {}, 1, 560), 1);
  EXPECT_EQ(team_members(with_team(0), {}, 560, 560), 1);
  EXPECT_EQ(team_members(with_team(0), {}, 1000, 560), 1);
  EXPECT_EQ(team_members(with_team(0), {}, 1200, 560), 2);
  EXPECT_EQ(team_members(with_team(0), {}, 7, 2), 3);
  EXPECT_EQ(team_members(with_team(0), {}, 7, 0), 7);
  EXPECT_EQ(team_members(with_team(0), of_elements, 7, 2), 1);
  EXPECT_EQ(team_members(with_team(4), {}, 8, 560), 4);
  EXPECT_EQ(team_members(with_team(4), {}, 3, 560), 4);  // what a journal is made for, on whatever ranks it is resumed
  EXPECT_EQ(assign_modules(with_team(4), {}, std::vector<slab::ModuleTask>(560), 3).members, 3);
}

TEST(TeamPlan, MembersSharesAreAllOfAModuleOnce) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    slab::ModuleTask task;
    task.stored_transposed = random() % 2 == 0;
    task.out_features = 1 + random() % 500;
    task.in_features = 1 + random() % 500;
    task.base.bytes = task.aligned.bytes = task.out_features * task.in_features * (1 + random() % 3) * 20'000;
    const int members = static_cast<int>(1 + random() % 9);
    std::uint64_t stored = 0, out = 0, in = 0;
    for (int member = 0; member < members; ++member) {
      const TeamPlace place{member, members};
      const auto share = member_share(task, place);
      for (const auto& slab : member_slabs(task, place)) {
        ASSERT_EQ(slab.row_begin, stored);
        stored += slab.rows;
      }
      const auto rows = task.stored_transposed ? share.in_end - share.in_begin : share.out_end - share.out_begin;
      if (rows > 0) {
        EXPECT_EQ(task.stored_transposed ? share.in_end : share.out_end, stored);
      }
      out += share.out_end - share.out_begin;
      in += share.in_end - share.in_begin;
    }
    EXPECT_EQ(stored, task.rows());
    EXPECT_EQ(out, task.out_features);
    EXPECT_EQ(in, task.in_features);
  }
}

TEST(TeamPlan, EveryMemberHasWorkWhereThereAreRowsEnough) {
  slab::ModuleTask task;
  task.out_features = task.in_features = 1024;  // k_proj of a 70B model is one slab of a single rank
  task.base.bytes = task.aligned.bytes = 1024 * 1024 * 2;
  EXPECT_EQ(member_slabs(task, {0, 1}).size(), 1u);
  for (int member = 0; member < 8; ++member) EXPECT_FALSE(member_slabs(task, {member, 8}).empty());
}

}  // namespace
}  // namespace winnow::division
