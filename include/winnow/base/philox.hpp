// Counter-based random numbers: every element is a pure function of (seed, stream name, position), so any rank and any
// thread makes its own part of a random matrix, in any order, without sending or storing one.
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11), by the Random123 library. Key:
// the seed. Counter: the block number in its low 64 bits, the stream in its high 64 bits (FNV-1a of the name).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace winnow::base {

/// 64-bit FNV-1a (Fowler, Noll, Vo).
std::uint64_t fnv1a(std::string_view text) noexcept;

/// Uniform random 32-bit words. Position p is word p % 4 of block p / 4. The same on every machine.
class BitStream {
 public:
  BitStream(std::uint64_t seed, std::string_view stream) noexcept : seed_(seed), stream_(fnv1a(stream)) {}

  /// Writes the words at positions first .. first + count - 1.
  void fill(std::uint64_t first, std::size_t count, std::uint32_t* out) const;
  /// The words as numbers in the open interval (0, 1): (w + 1/2) / 2^32, exact.
  void fill_uniform(std::uint64_t first, std::size_t count, double* out) const;
  double uniform(std::uint64_t position) const;

 private:
  std::uint64_t seed_, stream_;
};

/// Standard normals, two from two words by Box and Muller (1958), at most 6.8 in size.
///
/// Element p depends only on (seed, stream, p), not on how calls are cut. Words are the same everywhere; log, sin and
/// cos are the C library's, in double, whose last bit can differ between C libraries. Rounded to float or bf16, nearly
/// every element is the same again. The float version is the double one rounded.
class NormalStream {
 public:
  NormalStream(std::uint64_t seed, std::string_view stream) noexcept : bits_(seed, stream) {}

  void fill(std::uint64_t first, std::size_t count, float* out) const;
  void fill(std::uint64_t first, std::size_t count, double* out) const;
  double at(std::uint64_t position) const;

 private:
  BitStream bits_;
};

}  // namespace winnow::base
