#include "winnow/base/byte_size.hpp"

#include <gmock/gmock.h>

#include "base/expect_error.hpp"

namespace winnow::base {
namespace {

TEST(ByteSize, TakesWhatPeopleWrite) {
  EXPECT_EQ(parse_byte_size("0", "--x"), 0u);
  EXPECT_EQ(parse_byte_size("65536", "--x"), 65536u);
  EXPECT_EQ(parse_byte_size("65536B", "--x"), 65536u);
  EXPECT_EQ(parse_byte_size("4GiB", "--x"), 4ULL << 30);
  EXPECT_EQ(parse_byte_size("4 GiB", "--x"), 4ULL << 30);
  EXPECT_EQ(parse_byte_size("4G", "--x"), 4ULL << 30);
  EXPECT_EQ(parse_byte_size("4GB", "--x"), 4'000'000'000u);
  EXPECT_EQ(parse_byte_size("1.5TiB", "--x"), 3ULL << 39);
  EXPECT_EQ(parse_byte_size("0.5K", "--x"), 512u);
  EXPECT_EQ(parse_byte_size("800MB", "--x"), 800'000'000u);
}

TEST(ByteSize, RefusesTheRestNamingTheOption) {
  for (const auto* text : {"", "GiB", "4XB", "4gib", "-1", "four", "1e3", "4GiB8", "nan", "inf", "9000000TiB", " 4"}) {
    test::expect_error(ErrorKind::usage,
                       testing::AllOf(testing::HasSubstr("--memory-budget"), testing::HasSubstr("4GiB or 512MiB")),
                       [&] { parse_byte_size(text, "--memory-budget"); });
  }
}

}  // namespace
}  // namespace winnow::base
