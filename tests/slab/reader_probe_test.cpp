#include "slab/reader_probe.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace winnow::slab {
namespace {

constexpr std::uint64_t kMiB = 1 << 20, kUsual = 2 * kMiB;

/// Feeds the probe from a storage whose bandwidth depends on the shape of reads, until it has settled.
ReadShape settled_on(int most, const std::function<double(const ReadShape&)>& bytes_per_second) {
  ReaderProbe probe(most);
  double seconds = 0;
  for (int k = 0; k < 1000 && !probe.settled(); ++k) {
    constexpr std::uint64_t bytes = 16 << 20;
    const auto shape = probe.shape();
    EXPECT_GE(shape.read_bytes, ReaderProbe::kSmallestRead);
    EXPECT_LE(shape.read_bytes, ReaderProbe::kLargestRead);
    seconds += static_cast<double>(bytes) / bytes_per_second(shape);
    probe.add(bytes, shape, ReaderProbe::Time(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9))));
  }
  EXPECT_TRUE(probe.settled());
  EXPECT_TRUE(probe.shape().is_like(probe.best()));
  const auto found = probe.shape();
  EXPECT_NEAR(found.bytes_per_second, bytes_per_second(found), 0.02 * bytes_per_second(found));
  return found;
}

int readers_on(int most, const std::function<double(int readers)>& bytes_per_second) {
  const auto found = settled_on(most, [&](const ReadShape& shape) { return bytes_per_second(shape.readers); });
  EXPECT_EQ(found.read_bytes, kUsual) << "no size is better than another";
  return found.readers;
}

std::uint64_t read_on(const std::function<double(std::uint64_t bytes)>& bytes_per_second) {
  const auto found = settled_on(16, [&](const ReadShape& shape) { return bytes_per_second(shape.read_bytes); });
  EXPECT_EQ(found.readers, 1);
  return found.read_bytes;
}

TEST(ReaderProbe, TakesAsManyReadersAsPay) {
  EXPECT_EQ(readers_on(16, [](int) { return 5e9; }), 1);
  EXPECT_EQ(readers_on(16, [](int readers) { return readers == 1 ? 5e9 : 3e9; }), 1);
  EXPECT_EQ(readers_on(16, [](int readers) { return 1e9 * std::min(readers, 4); }), 4);
  EXPECT_EQ(readers_on(16, [](int readers) { return 1e9 * readers; }), 16);
  EXPECT_EQ(readers_on(6, [](int readers) { return 1e9 * readers; }), 4);
  EXPECT_EQ(readers_on(1, [](int readers) { return 1e9 * readers; }), 1);
}

TEST(ReaderProbe, TakesReadsOfTheSizeThatPays) {
  EXPECT_EQ(read_on([](std::uint64_t bytes) { return bytes <= kMiB ? 1.8e9 : 1.5e9; }), 512U << 10);
  EXPECT_EQ(read_on([](std::uint64_t bytes) { return bytes < 256U << 10 ? 2.0e9
                                                     : bytes < kMiB     ? 1.8e9
                                                                        : 1.5e9; }),
            128U << 10);
  EXPECT_EQ(read_on([](std::uint64_t bytes) { return bytes > 4 * kMiB ? 3e9 : 2e9; }), 8 * kMiB);
  EXPECT_EQ(read_on([](std::uint64_t bytes) { return bytes == kUsual ? 2e9 : 2.04e9; }), kUsual)
      << "a difference that may be chance";
}

TEST(ReaderProbe, FindsBothOfThem) {
  const auto found = settled_on(16, [](const ReadShape& shape) {
    return 1e9 * std::min(shape.readers, 4) * (shape.read_bytes > kMiB ? 1 : 1.3);
  });
  EXPECT_EQ(found.readers, 4);
  EXPECT_EQ(found.read_bytes, 512U << 10);
}

TEST(ReaderProbe, DoesNotJudgeTheStorageWhileReadersWaitForRoom) {
  ReaderProbe probe(16);
  double seconds = 0;
  for (int k = 0; k < 1000; ++k) {
    seconds += 0.1;
    probe.add(100 << 20, probe.shape(),
              ReaderProbe::Time(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9))));
    probe.interrupt();
  }
  EXPECT_EQ(probe.shape().readers, 1);
  EXPECT_FALSE(probe.settled());
  EXPECT_EQ(probe.best().bytes_per_second, 0);
}

TEST(ReaderProbe, DoesNotCountWhatWasBegunInAnotherShape) {
  ReaderProbe probe(16);
  ReadShape other;
  other.readers = 2;
  for (int k = 0; k < 100; ++k) probe.add(100 << 20, other, ReaderProbe::Time(std::chrono::milliseconds(k)));
  EXPECT_EQ(probe.shape().readers, 1);
  EXPECT_EQ(probe.best().bytes_per_second, 0);
}

}  // namespace
}  // namespace winnow::slab
