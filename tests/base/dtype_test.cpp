#include "winnow/base/dtype.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "winnow/base/error.hpp"

namespace winnow::base {
namespace {

constexpr std::uint32_t kAllPatterns = 65536;

/// The value of a binary floating-point pattern, from the definition of IEEE 754 and with none of the code under test.
double by_definition(std::uint32_t pattern, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const std::uint32_t mantissa = pattern & ((1U << mantissa_bits) - 1);
  const int exponent = static_cast<int>((pattern >> mantissa_bits) & ((1U << exponent_bits) - 1));
  const double sign = (pattern >> (mantissa_bits + exponent_bits)) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1U << mantissa_bits), exponent - bias - mantissa_bits);
}

struct HalfFormat {
  std::string name;
  int exponent_bits, mantissa_bits;
  float (*widen)(std::uint16_t);
  std::uint16_t (*round)(float);

  double value(std::uint32_t pattern) const { return by_definition(pattern, exponent_bits, mantissa_bits); }
  std::uint32_t infinity() const { return ((1U << exponent_bits) - 1) << mantissa_bits; }
};
void PrintTo(const HalfFormat& format, std::ostream* out) { *out << format.name; }

class Half : public testing::TestWithParam<HalfFormat> {};

INSTANTIATE_TEST_SUITE_P(All, Half,
                         testing::Values(HalfFormat{"f16", 5, 10, f16_to_float, float_to_f16},
                                         HalfFormat{"bf16", 8, 7, bf16_to_float, float_to_bf16}));

TEST_P(Half, every_pattern_widens_exactly) {
  const auto& format = GetParam();
  for (std::uint32_t pattern = 0; pattern < kAllPatterns; ++pattern) {
    const float value = format.widen(static_cast<std::uint16_t>(pattern));
    const double truth = format.value(pattern);
    if (std::isnan(truth)) {
      ASSERT_TRUE(std::isnan(value)) << pattern;
    } else {
      ASSERT_EQ(static_cast<double>(value), truth) << pattern;
      ASSERT_EQ(std::signbit(value), std::signbit(truth)) << pattern;  // of zeros
    }
  }
}

TEST_P(Half, every_pattern_comes_back) {
  const auto& format = GetParam();
  for (std::uint32_t pattern = 0; pattern < kAllPatterns; ++pattern) {
    const float value = format.widen(static_cast<std::uint16_t>(pattern));
    const auto back = format.round(value);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(format.widen(back))) << pattern;
      ASSERT_EQ(back >> 15, pattern >> 15) << pattern;
    } else {
      ASSERT_EQ(back, pattern);
    }
  }
}

// Between each two neighbours: the midpoint goes to the even one, what lies beside it to the nearer one.
TEST_P(Half, rounds_to_nearest_ties_to_even) {
  const auto& format = GetParam();
  for (std::uint32_t low = 0; low < format.infinity(); ++low) {
    const std::uint32_t high = low + 1;
    const double below = format.value(low);
    // Infinity is rounded to as if it were the next power of two.
    const double above = high == format.infinity() ? 2 * below - format.value(low - 1) : format.value(high);
    const double middle = below + (above - below) / 2;
    const auto tie = static_cast<float>(middle);
    if (static_cast<double>(tie) != middle) continue;  // between bf16 subnormals float itself has too few bits
    const std::uint32_t even = low % 2 == 0 ? low : high;
    ASSERT_EQ(format.round(tie), even) << low;
    ASSERT_EQ(format.round(-tie), even | 0x8000U) << low;
    ASSERT_EQ(format.round(std::nextafter(tie, 0.0F)), low) << low;
    ASSERT_EQ(format.round(std::nextafter(tie, std::numeric_limits<float>::infinity())), high) << low;
  }
}

TEST_P(Half, extremes) {
  const auto& format = GetParam();
  const auto infinity = format.infinity();
  EXPECT_EQ(format.round(std::numeric_limits<float>::infinity()), infinity);
  EXPECT_EQ(format.round(-std::numeric_limits<float>::infinity()), infinity | 0x8000U);
  EXPECT_EQ(format.round(std::numeric_limits<float>::max()), infinity);
  EXPECT_EQ(format.round(std::numeric_limits<float>::denorm_min()), 0);
  // A NaN whose mantissa is cut off by the conversion must not become infinity.
  EXPECT_TRUE(std::isnan(format.widen(format.round(std::bit_cast<float>(0x7F800001U)))));
}

template <class T>
std::vector<std::byte> misaligned(const std::vector<T>& values) {
  std::vector<std::byte> bytes(1 + values.size() * sizeof(T));
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));
  return bytes;
}

template <class T>
void expect_converted(DType dtype, const std::vector<T>& stored, const std::vector<double>& values) {
  const auto bytes = misaligned(stored);
  std::vector<float> floats(values.size());
  std::vector<double> doubles(values.size());
  to_float(dtype, bytes.data() + 1, values.size(), floats.data());
  to_double(dtype, bytes.data() + 1, values.size(), doubles.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(doubles[i], values[i]);
    EXPECT_EQ(floats[i], static_cast<float>(values[i]));
  }
}

TEST(Convert, at_any_alignment) {
  expect_converted<std::uint16_t>(DType::bf16, {0x3F80, 0xC000, 0x0001}, {1.0, -2.0, 0x1p-133});
  expect_converted<std::uint16_t>(DType::f16, {0x3C00, 0xC000, 0x0001}, {1.0, -2.0, 0x1p-24});
  expect_converted<float>(DType::f32, {1.5F, -0.1F}, {1.5, static_cast<double>(-0.1F)});
  expect_converted<double>(DType::f64, {0.1, 1e300}, {0.1, 1e300});
}

TEST(Convert, nothing) {
  to_float(DType::f32, nullptr, 0, nullptr);
  to_double(DType::bf16, nullptr, 0, nullptr);
}

TEST(Convert, refuses_what_is_not_computable) {
  const std::byte byte{};
  float value = 0;
  test::expect_error(ErrorKind::runtime, "cannot compute on F8_E4M3",
                     [&] { to_float(DType::f8_e4m3, &byte, 1, &value); });
}

TEST(Convert, the_way_back_gives_what_was_stored) {
  for (const auto dtype : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    const std::array values{0.0, -0.0, 1.0, -1.5, 0x1p-24, 65504.0, 1.0 / 3};
    std::array<std::byte, sizeof(values)> bytes{}, again{};
    ASSERT_EQ(from_double(dtype, values.data(), values.size(), bytes.data()), values.size());
    std::array<double, values.size()> back{};
    to_double(dtype, bytes.data(), back.size(), back.data());
    EXPECT_EQ(back[3], -1.5);
    EXPECT_EQ(back[4], 0x1p-24);
    EXPECT_NEAR(back[6], 1.0 / 3, 1.0 / 3 / 256);
    EXPECT_TRUE(std::signbit(back[1]));
    from_double(dtype, back.data(), back.size(), again.data());
    EXPECT_EQ(bytes, again);
  }
}

TEST(Convert, the_way_back_says_what_does_not_fit) {
  std::array<std::byte, 32> bytes{};
  const std::array values{1.0, 65520.0, 1e39, std::numeric_limits<double>::quiet_NaN()};
  EXPECT_EQ(from_double(DType::f16, values.data(), 4, bytes.data()), 1U);
  EXPECT_EQ(from_double(DType::bf16, values.data(), 4, bytes.data()), 2U);
  EXPECT_EQ(from_double(DType::f32, values.data(), 4, bytes.data()), 2U);
  EXPECT_EQ(from_double(DType::f64, values.data(), 4, bytes.data()), 3U);
  EXPECT_EQ(from_double(DType::f16, values.data(), 1, bytes.data()), 1U);
}

TEST(DType, names_and_sizes) {
  int computable = 0;
  for (int i = 0; i <= static_cast<int>(DType::u64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(name(dtype)), dtype);
    if (!is_computable(dtype)) continue;
    ++computable;
    EXPECT_EQ(element_bytes(dtype) * 8, bits(dtype));
  }
  EXPECT_EQ(computable, 4);
  EXPECT_EQ(name(DType::bf16), "BF16");
  EXPECT_EQ(element_bytes(DType::bf16), 2U);
  EXPECT_EQ(element_bytes(DType::f64), 8U);
  EXPECT_EQ(parse_dtype("bf16"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
}

}  // namespace
}  // namespace winnow::base
