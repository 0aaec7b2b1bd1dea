#include "winnow/base/text.hpp"

#include <gtest/gtest.h>

namespace winnow::base {
namespace {

using namespace std::string_literals;

TEST(Printable, SpellsOutWhatIsNotSeen) {
  EXPECT_EQ(printable("a\nb\tc\x1b[31m\x7f\0d"s), "a\\x0ab\\x09c\\x1b[31m\\x7f\\x00d");
  EXPECT_EQ(printable("\xC2\x80\xC2\x9B\xC2\x9F"), "\\u0080\\u009b\\u009f") << "C1 controls";
  EXPECT_EQ(printable("\xE2\x80\xAA\xE2\x80\xAE"), "\\u202a\\u202e") << "embeddings and overrides";
  EXPECT_EQ(printable("\xE2\x81\xA6\xE2\x81\xA9"), "\\u2066\\u2069") << "isolates";
  EXPECT_EQ(printable("\xE2\x80\x8E\xE2\x80\x8F\xD8\x9C"), "\\u200e\\u200f\\u061c") << "marks of direction";
  EXPECT_EQ(printable("\xE2\x80\x8B\xEF\xBB\xBF\xC2\xAD"), "\\u200b\\ufeff\\u00ad") << "without width";
  EXPECT_EQ(printable("\xE2\x80\xA8"), "\\u2028") << "a line of its own";
  EXPECT_EQ(printable("\xF3\xA0\x81\x81"), "\\U000e0041") << "tags";
}

TEST(Printable, LeavesWhatIsSeenAlone) {
  // The neighbours of what is spelled out: U+00A0, U+00AC, U+00AE, U+200A, U+2010, U+202F, U+2070, and beyond 16 bits.
  for (const auto* text : {"", "a b~\\x1b", "\xC3\xA4\xE2\x82\xAC", "\xC2\xA0\xC2\xAC\xC2\xAE",
                           "\xE2\x80\x8A\xE2\x80\x90\xE2\x80\xAF\xE2\x81\xB0", "\xF0\x9F\x98\x80"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, SpellsOutBytesThatAreNotUtf8) {
  EXPECT_EQ(printable("\xFF\xC3("), "\\xff\\xc3(");
  EXPECT_EQ(printable("\x9B[31m"), "\\x9b[31m") << "a C1 control to a terminal of eight bits";
  EXPECT_EQ(printable("\xE2\x80"), "\\xe2\\x80") << "cut short";
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80") << "half of a surrogate pair";
  EXPECT_EQ(printable("\xC0\xAF"), "\\xc0\\xaf") << "overlong";
}

TEST(ValidUtf8, ReplacesEachByteThatIsNotAndNothingElse) {
  EXPECT_EQ(valid_utf8("\xC3\xA4\x1b\xE2\x80\xAE"), "\xC3\xA4\x1b\xE2\x80\xAE");
  EXPECT_EQ(valid_utf8("\xFF\xC3("), "\xEF\xBF\xBD\xEF\xBF\xBD(");
}

}  // namespace
}  // namespace winnow::base
