// A few bytes of each tensor, by which two models of one architecture are told apart before any of them is read.
#pragma once

#include <string>

#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::checkpoint {

/// Training changes next to every tensor, and what it changes it changes almost everywhere: a page of each says whether
/// two checkpoints are of the same weights, though not that every bit is the same. For all tensors in the order of
/// their names (of more than kMostSampled, as many spread evenly) SHA-256 over name and kSampleBytes from the middle of
/// the data, from a multiple of that size on; all bytes if there are fewer. Throws Error(runtime) for an I/O error.
std::string sample_of(const Catalogue& catalogue);

inline constexpr std::uint64_t kSampleBytes = 4096;
inline constexpr std::size_t kMostSampled = 4096;

}  // namespace winnow::checkpoint
