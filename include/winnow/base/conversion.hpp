// Whether numbers are those of a weight, as they are or converted on their way: a model is loaded in one format, and
// what is saved of it is stored in another.
#pragma once

#include <cstdint>

namespace winnow::base {

/// Formats to which a weight may have been converted, as bits.
enum Conversion : std::uint8_t { kExact = 1, kToF32 = 2, kToBf16 = 4, kToF16 = 8, kAnyConversion = 15 };

/// Those of `conversions` by which each of `count` numbers of `other` is what becomes of that of `weight`. One that is
/// not a number in `weight` may have become anything.
std::uint8_t conversions_of(const double* weight, const double* other, std::uint64_t count, std::uint8_t conversions);

}  // namespace winnow::base
