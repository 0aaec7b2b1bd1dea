// Against the definition in the header, written out here with xxHash itself, and against other cuts of the same bytes.
#include "winnow/checkpoint/tensor_digest.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

namespace winnow::checkpoint {
namespace {

std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(engine());
  return bytes;
}

TensorDigest defined(const std::vector<std::byte>& tensor, std::size_t rows) {
  const std::size_t row_bytes = tensor.size() / rows;
  TensorDigest digest;
  for (std::uint64_t r = 0; r < rows; ++r) {
    std::uint64_t piece = 0;
    for (std::size_t begin = 0; begin < row_bytes; begin += 4096, ++piece) {
      const auto h = XXH3_128bits(&tensor[r * row_bytes + begin], std::min<std::size_t>(4096, row_bytes - begin));
      const std::array<std::uint64_t, 4> placed{h.low64, h.high64, r, piece};
      const auto hash = XXH3_128bits(placed.data(), sizeof(placed));
      digest.sum.low += hash.low64;
      digest.sum.high += hash.high64;
    }
  }
  return digest;
}

TensorDigest whole(const std::vector<std::byte>& tensor, std::size_t rows) {
  TensorDigest digest;
  digest.add_rows(0, rows, tensor.size() / rows, tensor.data());
  return digest;
}

TEST(TensorDigest, IsAsDefined) {
  for (const auto& [rows, row_bytes] : {std::pair{1, 1}, {3, 40}, {7, 4095}, {2, 4096}, {5, 4097}, {3, 57344}}) {
    const auto tensor = random_bytes(static_cast<std::size_t>(rows * row_bytes), 1);
    const auto digest = whole(tensor, static_cast<std::size_t>(rows));
    EXPECT_EQ(digest, defined(tensor, static_cast<std::size_t>(rows))) << rows << " x " << row_bytes;
    EXPECT_EQ(digest.text().size(), 32U);
  }
  EXPECT_EQ(TensorDigest{}.text(), std::string(32, '0'));
  EXPECT_EQ((TensorDigest{{1, 0x2A}}.text()), "000000000000002a0000000000000001");
}

TEST(TensorDigest, RowsMergeInAnyOrder) {
  constexpr std::size_t kRows = 50, kRowBytes = 20'000;
  const auto tensor = random_bytes(kRows * kRowBytes, 2);
  const auto expected = whole(tensor, kRows);
  std::mt19937 engine(3);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<TensorDigest> parts;
    for (std::size_t row = 0; row < kRows;) {
      const auto rows = std::min<std::size_t>(1 + engine() % 20, kRows - row);
      parts.emplace_back().add_rows(row, rows, kRowBytes, &tensor[row * kRowBytes]);
      row += rows;
    }
    std::shuffle(parts.begin(), parts.end(), engine);
    TensorDigest all;
    for (const auto& part : parts) all.merge(part);
    EXPECT_EQ(all, expected);
  }
}

TEST(TensorDigest, TellsEveryBitAndTheOrderOfRowsAndPieces) {
  constexpr std::size_t kRows = 4, kRowBytes = 16'384;
  const auto tensor = random_bytes(kRows * kRowBytes, 4);
  const auto digest = whole(tensor, kRows);
  std::mt19937 engine(5);
  for (int trial = 0; trial < 200; ++trial) {
    auto other = tensor;
    other[engine() % other.size()] ^= static_cast<std::byte>(1U << engine() % 8);
    EXPECT_NE(whole(other, kRows), digest);
  }
  auto swapped = tensor;
  std::rotate(swapped.begin(), swapped.begin() + kRowBytes, swapped.end());
  EXPECT_NE(whole(swapped, kRows), digest);
  swapped = tensor;
  std::rotate(swapped.begin(), swapped.begin() + kRowBytes / 2, swapped.begin() + kRowBytes);
  EXPECT_NE(whole(swapped, kRows), digest);
}

}  // namespace
}  // namespace winnow::checkpoint
