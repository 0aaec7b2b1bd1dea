#include "winnow/checkpoint/tensor_digest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace winnow::checkpoint {

void TensorDigest::add_piece(std::uint64_t row, std::uint64_t piece, std::span<const std::byte> bytes) noexcept {
  const auto content = base::xxh3(bytes);
  const std::array<std::uint64_t, 4> placed{content.low, content.high, row, piece};
  merge({base::xxh3(std::as_bytes(std::span(placed)))});
}

void TensorDigest::add_rows(std::uint64_t row, std::uint64_t rows, std::size_t row_bytes,
                            const std::byte* data) noexcept {
  for (const auto end = row + rows; row < end; ++row, data += row_bytes) {
    for (std::size_t begin = 0; begin < row_bytes; begin += kPieceBytes) {
      add_piece(row, begin / kPieceBytes, {data + begin, std::min(kPieceBytes, row_bytes - begin)});
    }
  }
}

void TensorDigest::merge(const TensorDigest& other) noexcept {
  sum.low += other.sum.low;
  sum.high += other.sum.high;
}

std::string TensorDigest::text() const { return fmt::format("{:016x}{:016x}", sum.high, sum.low); }

}  // namespace winnow::checkpoint
