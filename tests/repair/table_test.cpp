#include "winnow/repair/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace winnow::repair {
namespace {

using testing::Contains;
using testing::Not;

TEST(RepairTable, HasEachKindInItsPlace) {
  std::set<std::string_view> names;
  for (const auto& repair : repairs()) {
    EXPECT_EQ(&repair_of(repair.kind), &repair);
    EXPECT_EQ(find_repair(repair.name), &repair);
    EXPECT_TRUE(names.insert(repair.name).second) << repair.name;
    EXPECT_FALSE(repair.what.empty() || repair.source.empty());
    EXPECT_EQ(repair.directions != 0, takes(repair, "directions")) << repair.name;
    EXPECT_LE(repair.what.size(), 82U) << "wider than a help text";
  }
  EXPECT_EQ(find_repair("none"), nullptr);
}

TEST(RepairTable, EveryOptionIsTakenBySomeRepair) {
  for (const auto& options : {own_options(), input_options()}) {
    for (const auto option : options) EXPECT_NE(those_that_take(option), "") << option;
  }
  EXPECT_THAT(own_options(), Not(Contains("report")));
  EXPECT_THAT(input_options(), Contains("probe"));
}

TEST(RepairTable, KnowsWhatARepairTakes) {
  EXPECT_TRUE(takes(*find_repair("drop"), "report"));
  EXPECT_FALSE(takes(*find_repair("drop"), "lambda"));
  EXPECT_TRUE(takes(*find_repair("deflect"), "direction"));
  EXPECT_FALSE(takes(*find_repair("subtract"), "side"));
  EXPECT_FALSE(takes(*find_repair("subtract"), "report"));
}

TEST(RepairTable, ListsNamesAsPeopleDo) {
  EXPECT_EQ(listed({}), "");
  const std::string_view three[] = {"a", "b", "c"};
  EXPECT_EQ(listed(std::span(three).first(1)), "a");
  EXPECT_EQ(listed(std::span(three).first(2)), "a or b");
  EXPECT_EQ(listed(three), "a, b or c");
}

}  // namespace
}  // namespace winnow::repair
