#include "torch/slab_slots.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <vector>

namespace winnow::compute {
namespace {

/// Both passes over `slabs` slabs as a device goes about it. Returns how many were still there in the second.
std::size_t run_module(SlabSlots& slots, std::size_t most, std::size_t slabs) {
  slots.begin(most);
  std::set<std::size_t> kept;
  std::size_t resident = 0;
  for (std::uint64_t row = 0; row < slabs; ++row) {
    const auto taken = slots.take(row);
    EXPECT_FALSE(taken.resident);
    EXPECT_LT(taken.slot, std::max(most, SlabSlots::kLeast));
    EXPECT_EQ(kept.count(taken.slot), 0U) << "a slab that stays would be overwritten";
    if (slots.keep(row, taken.slot)) {
      kept.insert(taken.slot);
    } else {
      slots.give_back(taken.slot);
    }
  }
  for (std::uint64_t row = 0; row < slabs; ++row) {
    const auto taken = slots.take(row);
    if (taken.resident) ++resident;
    EXPECT_EQ(kept.count(taken.slot), taken.resident ? 1U : 0U);
    kept.erase(taken.slot);
    slots.give_back(taken.slot);
  }
  EXPECT_TRUE(kept.empty());
  EXPECT_LE(slots.made(), std::max(most, SlabSlots::kLeast));
  return resident;
}

TEST(SlabSlots, KeepWhatFitsBesideTheSlotsToPassThrough) {
  SlabSlots slots;
  for (const std::size_t slabs : {0, 1, 2, 5, 40}) {
    for (const std::size_t most : {2, 3, 4, 5, 10, 43, 100}) {
      SCOPED_TRACE(testing::Message() << slabs << " slabs, " << most << " slots");
      const auto room = most > SlabSlots::kPassing ? most - SlabSlots::kPassing : 0;
      EXPECT_EQ(run_module(slots, most, slabs), std::min(slabs, room));
    }
  }
}

TEST(SlabSlots, ASlotIsUsedAgainOnlyAfterItsNeighbours) {
  SlabSlots slots;
  slots.begin(3);
  std::vector<std::size_t> order;
  for (std::uint64_t row = 0; row < 7; ++row) {
    const auto taken = slots.take(row);
    ASSERT_FALSE(slots.keep(row, taken.slot));
    slots.give_back(taken.slot);
    order.push_back(taken.slot);
  }
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 0, 1, 2, 0}));
}

TEST(SlabSlots, TheNextModuleTakesFreeSlotsWithRoomThenNewOnes) {
  const auto any = [](std::size_t) { return true; };
  SlabSlots slots;
  slots.begin(5);
  for (std::uint64_t row = 0; row < 3; ++row) slots.take(row);
  for (const std::size_t slot : {1, 2, 0}) slots.give_back(slot);
  EXPECT_EQ(slots.take_ahead([](std::size_t slot) { return slot != 1; }), 2U) << "1 is too small";
  EXPECT_EQ(slots.take_ahead(any), 1U);
  EXPECT_EQ(slots.take_ahead(any), 0U);
  EXPECT_EQ(slots.take_ahead(any), 3U);
  EXPECT_EQ(slots.take_ahead(any), 4U);
  EXPECT_EQ(slots.take_ahead(any), std::nullopt);
  EXPECT_EQ(slots.made(), 5U);
}

TEST(SlabSlots, WhatIsTakenAheadStaysSoInTheNextModule) {
  SlabSlots slots;
  slots.begin(4);
  for (std::uint64_t row = 0; row < 4; ++row) slots.take(row);
  slots.begin(4, {2, 0});
  std::set<std::size_t> others;
  for (std::uint64_t row = 2; row < 4; ++row) others.insert(slots.take(row).slot);
  EXPECT_EQ(others, (std::set<std::size_t>{1, 3}));
  EXPECT_FALSE(slots.keep(0, 2)) << "nothing would be free";
  for (const std::size_t slot : {2, 1, 3}) slots.give_back(slot);
  EXPECT_TRUE(slots.keep(1, 0));
}

TEST(SlabSlots, WhatWasKeptIsGivenUpForTheNextModule) {
  SlabSlots slots;
  slots.begin(10);
  ASSERT_TRUE(slots.keep(0, slots.take(0).slot));
  slots.begin(10);
  EXPECT_FALSE(slots.take(0).resident);
}

}  // namespace
}  // namespace winnow::compute
