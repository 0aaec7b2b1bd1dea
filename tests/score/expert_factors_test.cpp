#include "winnow/score/expert_factors.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace winnow::score {
namespace {

/// A block whose element n of expert e is 100 * e + n, of `size` bytes.
std::string block_of(std::size_t experts, std::size_t elements, std::size_t size) {
  std::string bytes(experts * elements * size, '\0');
  for (std::size_t n = 0; n < elements; ++n) {
    for (std::size_t e = 0; e < experts; ++e) {
      const auto value = static_cast<std::uint64_t>(100 * e + n);
      std::memcpy(&bytes[(n * experts + e) * size], &value, size);
    }
  }
  return bytes;
}

class Blocks : public ::testing::TestWithParam<std::pair<base::DType, std::size_t>> {};

TEST_P(Blocks, AreReadOnceAndTakenApart) {
  const auto [dtype, size] = GetParam();
  const std::size_t experts = 5, elements = 77;
  const auto bytes = block_of(experts, elements, size);
  ExpertFactors kept;
  int reads = 0;
  for (std::uint16_t e = 0; e < experts; ++e) {
    const adapter::FactorLocation factor{40, bytes.size(), dtype, e, static_cast<std::uint16_t>(experts)};
    const auto own = kept.get(3, factor, 1 << 20, [&](std::span<std::byte> all) {
      ++reads;
      ASSERT_EQ(all.size(), bytes.size());
      std::memcpy(all.data(), bytes.data(), bytes.size());
    });
    ASSERT_EQ(own.size(), elements * size);
    std::vector<std::byte> gathered(own.size());
    adapter::gather(factor, std::as_bytes(std::span(bytes)), gathered);
    EXPECT_EQ(std::memcmp(own.data(), gathered.data(), own.size()), 0);
    for (std::size_t n = 0; n < elements; ++n) {
      std::uint64_t value = 0;
      std::memcpy(&value, own.data() + n * size, size);
      ASSERT_EQ(value, 100 * e + n) << "expert " << e;
    }
    std::vector<std::byte> back(bytes.size());
    adapter::scatter(factor, own, back);
    adapter::gather(factor, back, gathered);
    EXPECT_EQ(std::memcmp(own.data(), gathered.data(), own.size()), 0);
  }
  EXPECT_EQ(reads, 1);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Blocks,
                         ::testing::Values(std::pair(base::DType::bf16, std::size_t{2}),
                                           std::pair(base::DType::f32, std::size_t{4}),
                                           std::pair(base::DType::f64, std::size_t{8})));

/// Which of the blocks asked for were read: of (adapter, offset) one after the other.
std::string reads_of(std::uint64_t room, const std::vector<std::pair<std::uint32_t, std::uint64_t>>& asked) {
  const auto bytes = block_of(2, 50, 2);  // 200 bytes
  ExpertFactors kept;
  std::string reads;
  for (const auto& [adapter, offset] : asked) {
    bool read = false;
    kept.get(adapter, {offset, bytes.size(), base::DType::f16, 1, 2}, room, [&](std::span<std::byte> all) {
      read = true;
      std::memcpy(all.data(), bytes.data(), bytes.size());
    });
    reads += read ? 'r' : '.';
  }
  return reads;
}

TEST(Blocks, StayAsFarAsThereIsRoom) {
  EXPECT_EQ(reads_of(400, {{0, 0}, {1, 0}, {0, 0}, {1, 0}}), "rr..");
  EXPECT_EQ(reads_of(400, {{0, 0}, {0, 500}, {0, 0}, {0, 900}, {0, 0}, {0, 500}}), "rr.r.r") << "the oldest goes";
  EXPECT_EQ(reads_of(399, {{0, 0}, {1, 0}, {0, 0}}), "rrr");
  EXPECT_EQ(reads_of(0, {{0, 0}, {0, 0}, {1, 0}, {1, 0}}), "r.r.") << "one always stays";
}

TEST(Blocks, AReadThatFailsLeavesNothing) {
  ExpertFactors kept;
  const adapter::FactorLocation factor{0, 200, base::DType::bf16, 0, 2};
  EXPECT_THROW(kept.get(0, factor, 1000, [](std::span<std::byte>) { throw std::runtime_error("storage"); }),
               std::runtime_error);
  bool read = false;
  kept.get(0, factor, 1000, [&](std::span<std::byte>) { read = true; });
  EXPECT_TRUE(read);
}

}  // namespace
}  // namespace winnow::score
