#include "slab/reader_probe.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace winnow::slab {
namespace {

/// Feeds the probe from a storage whose bandwidth depends on the number of readers, until it has settled.
int settled_on(int most, const std::function<double(int readers)>& bytes_per_second) {
  ReaderProbe probe(most);
  double seconds = 0;
  for (int k = 0; k < 1000 && !probe.settled(); ++k) {
    constexpr std::uint64_t bytes = 16 << 20;
    seconds += static_cast<double>(bytes) / bytes_per_second(probe.readers());
    probe.add(bytes, ReaderProbe::Time(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9))));
  }
  EXPECT_TRUE(probe.settled());
  return probe.readers();
}

TEST(ReaderProbe, TakesAsManyReadersAsPay) {
  EXPECT_EQ(settled_on(16, [](int) { return 5e9; }), 1);
  EXPECT_EQ(settled_on(16, [](int readers) { return readers == 1 ? 5e9 : 3e9; }), 1);
  EXPECT_EQ(settled_on(16, [](int readers) { return 1e9 * std::min(readers, 4); }), 4);
  EXPECT_EQ(settled_on(16, [](int readers) { return 1e9 * readers; }), 16);
  EXPECT_EQ(settled_on(6, [](int readers) { return 1e9 * readers; }), 4);
  EXPECT_EQ(settled_on(1, [](int readers) { return 1e9 * readers; }), 1);
}

TEST(ReaderProbe, DoesNotJudgeTheStorageWhileReadersWaitForRoom) {
  ReaderProbe probe(16);
  double seconds = 0;
  for (int k = 0; k < 1000; ++k) {
    seconds += 0.1;
    probe.add(100 << 20, ReaderProbe::Time(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9))));
    probe.interrupt();
  }
  EXPECT_EQ(probe.readers(), 1);
  EXPECT_FALSE(probe.settled());
}

}  // namespace
}  // namespace winnow::slab
