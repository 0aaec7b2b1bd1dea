#include "places.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace winnow::verify {
namespace {

using ::testing::ElementsAre;
constexpr auto kNone = std::nullopt;

/// A directory and what it holds.
struct Thing {
  std::string path, content;
};

std::vector<std::optional<std::size_t>> match(const std::vector<Thing>& now, const std::vector<Thing>& then) {
  std::vector<std::string> directories, recorded;
  for (const auto& thing : now) directories.push_back(thing.path);
  for (const auto& thing : then) recorded.push_back(thing.path);
  return match_places(directories, recorded,
                      [&](std::size_t d, std::size_t r) { return now[d].content == then[r].content; });
}

TEST(Places, AMovedZooKeepsItsNames) {
  EXPECT_THAT(match({{"/new/a", "1"}, {"/new/b", "2"}}, {{"old/b", "2"}, {"old/a", "1"}}), ElementsAre(1, 0));
  EXPECT_THAT(match({{"/new/./a/", "1"}}, {{"../x/../old/a", "1"}}), ElementsAre(0));
}

TEST(Places, NamesComeBeforeContent) {
  EXPECT_THAT(match({{"zoo/a", "2"}, {"zoo/b", "1"}}, {{"zoo/a", "1"}, {"zoo/b", "2"}}), ElementsAre(0, 1))
      << "what has changed places has changed";
}

TEST(Places, MoreOfAPathComesFirst) {
  const std::vector<Thing> then{{"zoo/x/adapter", "1"}, {"zoo/y/adapter", "2"}};
  EXPECT_THAT(match({{"new/y/adapter", "?"}, {"new/x/adapter", "?"}}, then), ElementsAre(1, 0));
  EXPECT_THAT(match({{"new/z/adapter", "2"}, {"new/x/adapter", "?"}}, then), ElementsAre(1, 0));
  EXPECT_THAT(match({{"new/z/adapter", "?"}, {"new/w/adapter", "2"}}, then), ElementsAre(0, 1))
      << "of several that share as much it is the one whose content fits";
}

TEST(Places, ARenamedOneIsFoundByItsContent) {
  EXPECT_THAT(match({{"zoo/c", "1"}, {"zoo/d", "3"}}, {{"zoo/a", "1"}, {"zoo/b", "2"}}), ElementsAre(0, kNone));
  EXPECT_THAT(match({{"zoo/c", "1"}, {"zoo/d", "1"}}, {{"zoo/a", "1"}}), ElementsAre(0, kNone)) << "each once";
  EXPECT_THAT(match({}, {{"zoo/a", "1"}}), ElementsAre());
  EXPECT_THAT(match({{"zoo/a", "1"}}, {}), ElementsAre(kNone));
}

TEST(Places, BytesThatAreNoTextMatchWhatAReportMadeOfThem) {
  EXPECT_THAT(match({{"zoo/\xFF", "1"}, {"zoo/b", "2"}}, {{"zoo/b", "2"}, {"zoo/\xEF\xBF\xBD", "?"}}),
              ElementsAre(1, 0));
}

// A shuffled zoo of thousands under another root: each is itself again, whether or not its content has changed.
TEST(Places, TenThousand) {
  std::vector<Thing> then, now;
  for (int k = 0; k < 10'000; ++k) then.push_back({fmt::format("zoo/{}/run/adapter", k), std::to_string(k)});
  std::vector<std::size_t> order(then.size());
  for (std::size_t k = 0; k < order.size(); ++k) order[k] = k;
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  for (const auto k : order) now.push_back({"/srv/" + then[k].path.substr(4), k % 3 == 0 ? "?" : then[k].content});
  const auto found = match(now, then);
  for (std::size_t d = 0; d < now.size(); ++d) ASSERT_EQ(found[d], order[d]);
}

}  // namespace
}  // namespace winnow::verify
