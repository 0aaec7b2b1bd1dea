#include "winnow/base/bytes.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "winnow/base/narrow.hpp"

namespace winnow::base {
namespace {

enum class Colour : std::uint8_t { red, green };

TEST(Bytes, come_back) {
  ByteWriter out;
  out.put<std::uint8_t>(255);
  out.put<std::int64_t>(std::numeric_limits<std::int64_t>::min());
  out.put(-0.0);
  out.put(std::nan(""));
  out.put(true);
  out.put(Colour::green);
  out.put(std::string_view("a\0b", 3));
  out.put(std::string());
  out.put(std::vector<double>{0.1, -1e308});
  out.put(std::vector<std::uint64_t>{});

  ByteReader in(out.bytes());
  EXPECT_EQ(in.get<std::uint8_t>(), 255);
  EXPECT_EQ(in.get<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
  EXPECT_TRUE(std::signbit(in.get<double>()));
  EXPECT_TRUE(std::isnan(in.get<double>()));
  EXPECT_TRUE(in.get<bool>());
  EXPECT_EQ(in.get<Colour>(), Colour::green);
  EXPECT_EQ(in.get_string(), std::string("a\0b", 3));
  EXPECT_EQ(in.get_string(), "");
  EXPECT_FALSE(in.at_end());
  EXPECT_EQ(in.get_vector<double>(), (std::vector<double>{0.1, -1e308}));
  EXPECT_EQ(in.get_vector<std::uint64_t>(), std::vector<std::uint64_t>{});
  EXPECT_TRUE(in.at_end());
}

TEST(Bytes, are_little_endian) {
  ByteWriter out;
  out.put<std::uint32_t>(0x01020304);
  EXPECT_EQ(out.bytes(), "\x04\x03\x02\x01");
  EXPECT_EQ(std::move(out).bytes(), "\x04\x03\x02\x01");
}

TEST(Bytes, that_end_too_early_are_refused) {
  const auto expect_short = [](auto call) {
    test::expect_error(ErrorKind::runtime, "internal message between ranks ends too early", call);
  };
  expect_short([] { ByteReader("123").get<std::uint32_t>(); });
  expect_short([] { ByteReader("").get<char>(); });
  ByteWriter text;
  text.put("abc");
  expect_short([&] { ByteReader(std::string_view(text.bytes()).substr(0, 10)).get_string(); });
  // Lengths that would wrap around when multiplied by the size of an element.
  for (const auto count : {std::uint64_t{2}, std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
    ByteWriter vector;
    vector.put(count);
    vector.put(1.0);
    expect_short([&] { ByteReader(vector.bytes()).get_vector<double>(); });
  }
}

TEST(Narrow, keeps_what_fits) {
  EXPECT_EQ(narrow<int>(std::uint64_t{2147483647}, "count"), 2147483647);
  EXPECT_EQ(narrow<std::uint8_t>(255, "count"), 255);
  EXPECT_EQ(narrow<std::int8_t>(-128L, "count"), -128);
}

TEST(Narrow, refuses_what_does_not) {
  const auto expect_range = [](const std::string& value, auto call) {
    test::expect_error(ErrorKind::runtime, "count is out of range: " + value, call);
  };
  expect_range("2147483648", [] { narrow<int>(std::uint64_t{2147483648}, "count"); });
  expect_range("-1", [] { narrow<std::uint64_t>(-1, "count"); });
  expect_range("256", [] { narrow<std::uint8_t>(256, "count"); });
}

}  // namespace
}  // namespace winnow::base
