// The digest of a tensor's stored bytes, formed of what is read anyway: whichever ranks and threads read which rows, in
// whichever order and pieces, and through whichever reader.
//
//     row 0   | piece 0 | piece 1 | .. |      Rows are those of the stored tensor (its first dimension); a piece is
//     row 1   | piece 0 | piece 1 | .. |      kPieceBytes of a row, counted from its beginning, the last what is left.
//
//     digest = sum over rows r, pieces p of H(low(h), high(h), r, p)     h = H(bytes of the piece)
//
// H is XXH3-128 of the bytes, or of the four numbers as 64-bit little-endian words; the sum is that of the lower and of
// the upper 64 bits, each modulo 2^64. Sums merge in any order; that a place is hashed with each piece tells tensors
// apart that have the same rows in another order. Made to tell weights apart that differ by accident or training; it is
// no seal against somebody who makes weights up to have a given digest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "winnow/base/xxh3.hpp"

namespace winnow::checkpoint {

/// Small, so that a row of pieces on their way through a processor is in its cache still when it is hashed; large
/// enough that to begin and end a hash costs little.
inline constexpr std::size_t kPieceBytes = 4096;

struct TensorDigest {
  base::Hash128 sum;

  /// `bytes`: of one piece.
  void add_piece(std::uint64_t row, std::uint64_t piece, std::span<const std::byte> bytes) noexcept;
  /// `data`: whole rows of `row_bytes` each, the first of them `row`.
  void add_rows(std::uint64_t row, std::uint64_t rows, std::size_t row_bytes, const std::byte* data) noexcept;
  void merge(const TensorDigest& other) noexcept;  ///< of other rows

  std::string text() const;  ///< 32 hexadecimal digits, the upper half first
  bool operator==(const TensorDigest&) const = default;
};

}  // namespace winnow::checkpoint
