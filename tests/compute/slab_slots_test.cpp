#include "torch/slab_slots.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace winnow::compute {
namespace {

/// Both passes over `slabs` slabs as DevicePass goes about it. Returns how many were still there in the second.
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

TEST(SlabSlots, WhatWasKeptIsGivenUpForTheNextModule) {
  SlabSlots slots;
  slots.begin(10);
  ASSERT_TRUE(slots.keep(0, slots.take(0).slot));
  slots.begin(10);
  EXPECT_FALSE(slots.take(0).resident);
}

}  // namespace
}  // namespace winnow::compute
