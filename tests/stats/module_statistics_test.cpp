#include "winnow/stats/module_statistics.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/expect_error.hpp"

namespace winnow::stats {
namespace {

using test::expect_error;
using testing::HasSubstr;

/// Whole numbers, so that sums are exact and every order of merging gives the same bits.
ModuleStatistics random_statistics(std::mt19937_64& random, const std::vector<std::uint64_t>& ranks,
                                   std::uint64_t sketch_columns) {
  std::uniform_int_distribution<int> whole(-1000, 1000);
  auto module = ModuleStatistics::identity(ranks, sketch_columns);
  module.squared_norm = whole(random);
  for (auto* matrix : {&module.ztz, &module.mtm}) {
    for (auto& x : *matrix) x = whole(random);
  }
  if (random() % 3 == 0) module.unusable = {true, random() % 2 == 0, random() % 50, 0.5};
  for (auto& layer : module.layers) {
    for (auto* matrix : {&layer.btb, &layer.ptp, &layer.ptb, &layer.dtd, &layer.yty, &layer.mtb, &layer.zta}) {
      for (auto& x : *matrix) x = whole(random);
    }
    layer.y_a = whole(random);
  }
  return module;
}

std::string bytes_of(const ModuleStatistics& module) {
  base::ByteWriter out;
  module.serialise(out);
  return std::move(out).bytes();
}

const std::vector<std::uint64_t> kRanks{1, 4, 3};

TEST(ModuleStatistics, IdentityIsNeutralOnBothSides) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    const auto some = random_statistics(random, kRanks, 3);
    auto left = ModuleStatistics::identity(kRanks, 3);
    left.merge(some);
    auto right = some;
    right.merge(ModuleStatistics::identity(kRanks, 3));
    EXPECT_EQ(bytes_of(left), bytes_of(some));
    EXPECT_EQ(bytes_of(right), bytes_of(some));
  }
}

ModuleStatistics merged_in_tree(std::mt19937_64& random, const std::vector<ModuleStatistics>& parts, std::size_t first,
                                std::size_t last) {
  if (last - first == 1) return parts[first];
  const std::size_t cut = first + 1 + random() % (last - first - 1);
  auto left = merged_in_tree(random, parts, first, cut);
  left.merge(merged_in_tree(random, parts, cut, last));
  return left;
}

TEST(ModuleStatistics, MergeIsAssociativeHoweverThePartsAreSplit) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 50; ++round) {
    std::vector<ModuleStatistics> parts;
    const std::size_t count = 1 + random() % 12;
    for (std::size_t k = 0; k < count; ++k) parts.push_back(random_statistics(random, kRanks, 2));
    auto in_order = ModuleStatistics::identity(kRanks, 2);
    for (const auto& part : parts) in_order.merge(part);
    EXPECT_EQ(bytes_of(merged_in_tree(random, parts, 0, parts.size())), bytes_of(in_order));
  }
}

TEST(ModuleStatistics, MergeAddsEverySum) {
  std::mt19937_64 random(3);
  auto x = random_statistics(random, {2}, 2), y = random_statistics(random, {2}, 2);
  x.layers[0].mtp = {1, 2, 3, 4};
  y.layers[0].mtp = {-5, 6, 7, 8};
  auto sum = x;
  sum.merge(y);
  EXPECT_EQ(sum.squared_norm, x.squared_norm + y.squared_norm);
  const auto expect_sum = [](const auto& a, const auto& b, const auto& c) {
    ASSERT_EQ(a.size(), c.size());
    for (std::size_t k = 0; k < c.size(); ++k) EXPECT_EQ(c[k], a[k] + b[k]);
  };
  expect_sum(x.ztz, y.ztz, sum.ztz);
  expect_sum(x.mtm, y.mtm, sum.mtm);
  const auto &p = x.layers[0], &q = y.layers[0], &s = sum.layers[0];
  expect_sum(p.btb, q.btb, s.btb);
  expect_sum(p.ptp, q.ptp, s.ptp);
  expect_sum(p.ptb, q.ptb, s.ptb);
  expect_sum(p.dtd, q.dtd, s.dtd);
  expect_sum(p.yty, q.yty, s.yty);
  expect_sum(p.mtb, q.mtb, s.mtb);
  expect_sum(p.zta, q.zta, s.zta);
  expect_sum(p.mtp, q.mtp, s.mtp);
  EXPECT_EQ(s.y_a, p.y_a + q.y_a);
  EXPECT_EQ(s.rank, 2u);
}

TEST(ModuleStatistics, IdentityHasTheShapesOfItsRanks) {
  const auto module = ModuleStatistics::identity({2, 5}, 4);
  EXPECT_EQ(module.sketch_columns, 4u);
  EXPECT_EQ(module.ztz, std::vector<double>(16, 0.0));
  EXPECT_EQ(module.mtm, std::vector<double>(16, 0.0));
  ASSERT_EQ(module.layers.size(), 2u);
  EXPECT_EQ(module.layers[1].rank, 5u);
  EXPECT_EQ(module.layers[1].ptb, std::vector<double>(25, 0.0));
  EXPECT_EQ(module.layers[1].mtb, std::vector<double>(20, 0.0));
  EXPECT_TRUE(module.layers[1].mtp.empty()) << "of W alone";
  EXPECT_FALSE(module.unusable.found);
}

TEST(ModuleStatistics, OtherShapesAreRefused) {
  using base::ErrorKind;
  const auto refuses = [](const ModuleStatistics& one, const ModuleStatistics& other) {
    expect_error(ErrorKind::runtime, HasSubstr("different shapes"), [&] {
      auto sum = one;
      sum.merge(other);
    });
  };
  const auto one = ModuleStatistics::identity({2, 3}, 4);
  refuses(one, ModuleStatistics::identity({2}, 4));
  refuses(one, ModuleStatistics::identity({2, 3, 1}, 4));
  refuses(one, ModuleStatistics::identity({3, 2}, 4));
  refuses(one, ModuleStatistics::identity({2, 3}, 3));
  refuses(one, ModuleStatistics::identity({2, 3}, 0));
  auto of_weight = one;
  of_weight.layers[0].mtp.assign(8, 0.0);
  refuses(one, of_weight);
}

TEST(ModuleStatistics, SurviveSerialisation) {
  std::mt19937_64 random(4);
  for (const auto& ranks : {std::vector<std::uint64_t>{}, std::vector<std::uint64_t>{1}, kRanks}) {
    for (const std::uint64_t sketch : {0, 1, 5}) {
      auto module = random_statistics(random, ranks, sketch);
      module.squared_norm = 0.1;  // not a whole number
      for (auto& layer : module.layers) layer.mtp.assign(sketch * layer.rank, 0.25);
      const auto bytes = bytes_of(module);
      base::ByteReader in(bytes);
      const auto back = ModuleStatistics::deserialise(in);
      EXPECT_TRUE(in.at_end());
      EXPECT_EQ(back.sketch_columns, sketch);
      EXPECT_EQ(back.squared_norm, 0.1);
      EXPECT_EQ(back.ztz, module.ztz);
      EXPECT_EQ(back.mtm, module.mtm);
      EXPECT_EQ(back.unusable.found, module.unusable.found);
      EXPECT_EQ(back.unusable.in_aligned, module.unusable.in_aligned);
      EXPECT_EQ(back.unusable.element, module.unusable.element);
      EXPECT_EQ(back.unusable.value, module.unusable.value);
      ASSERT_EQ(back.layers.size(), ranks.size());
      for (std::size_t j = 0; j < ranks.size(); ++j) {
        EXPECT_EQ(back.layers[j].rank, ranks[j]);
        EXPECT_EQ(back.layers[j].btb, module.layers[j].btb);
        EXPECT_EQ(back.layers[j].ptp, module.layers[j].ptp);
        EXPECT_EQ(back.layers[j].ptb, module.layers[j].ptb);
        EXPECT_EQ(back.layers[j].dtd, module.layers[j].dtd);
        EXPECT_EQ(back.layers[j].yty, module.layers[j].yty);
        EXPECT_EQ(back.layers[j].mtb, module.layers[j].mtb);
        EXPECT_EQ(back.layers[j].mtp, module.layers[j].mtp);
        EXPECT_EQ(back.layers[j].zta, module.layers[j].zta);
        EXPECT_EQ(back.layers[j].y_a, module.layers[j].y_a);
      }
    }
  }
}

TEST(ModuleStatistics, KeepNotANumberThroughMergeAndSerialisation) {
  auto module = ModuleStatistics::identity({1}, 1);
  auto bad = module;
  bad.squared_norm = bad.layers[0].dtd[0] = std::numeric_limits<double>::quiet_NaN();
  module.merge(bad);
  const auto bytes = bytes_of(module);
  base::ByteReader in(bytes);
  const auto back = ModuleStatistics::deserialise(in);
  EXPECT_TRUE(std::isnan(back.squared_norm));
  EXPECT_TRUE(std::isnan(back.layers[0].dtd[0]));
  EXPECT_EQ(back.layers[0].ptp[0], 0);
}

TEST(ModuleStatistics, AMessageCutShortIsRefused) {
  std::mt19937_64 random(5);
  const auto bytes = bytes_of(random_statistics(random, {2, 1}, 2));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    expect_error(base::ErrorKind::runtime, HasSubstr("ends too early"), [&] {
      base::ByteReader in(std::string_view(bytes).substr(0, length));
      ModuleStatistics::deserialise(in);
    });
  }
}

TEST(UnusableWeight, KeepsTheFirstInTheBaseThenTheFirstInTheAlignedCheckpoint) {
  // In rising order: what comes first wins over all after it, whichever side it is merged from.
  const std::vector<UnusableWeight> order{
      {true, false, 3, 1e20}, {true, false, 900, 2}, {true, true, 0, 1}, {true, true, 7, 3}, {}};
  for (std::size_t first = 0; first < order.size(); ++first) {
    for (std::size_t second = first; second < order.size(); ++second) {
      for (const bool swapped : {false, true}) {
        auto merged = order[swapped ? second : first];
        merged.merge(order[swapped ? first : second]);
        EXPECT_EQ(merged.found, order[first].found);
        EXPECT_EQ(merged.in_aligned, order[first].in_aligned) << first << " with " << second;
        EXPECT_EQ(merged.element, order[first].element) << first << " with " << second;
      }
    }
  }
}

}  // namespace
}  // namespace winnow::stats
