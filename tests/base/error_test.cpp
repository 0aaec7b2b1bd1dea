#include "winnow/base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <string>

#include "winnow/base/bytes.hpp"

namespace winnow::base {
namespace {

Error full(const std::string& text) {
  return Error(ErrorKind::invalid_input, "what" + text)
      .file("file" + text)
      .tensor("tensor" + text)
      .rank(3)
      .os_error(ENOENT)
      .expected("this" + text)
      .advice("do that" + text);
}

TEST(Error, says_all_it_was_given) {
  EXPECT_STREQ(full("").what(),
               "what (No such file or directory): file, tensor tensor, rank 3; expected this; do that");
}

TEST(Error, says_nothing_it_was_not_given) {
  EXPECT_STREQ(Error(ErrorKind::runtime, "what").what(), "what");
  EXPECT_STREQ(Error(Error(ErrorKind::runtime, "what").tensor("t")).what(), "what: tensor t");
  EXPECT_STREQ(Error(Error(ErrorKind::runtime, "what").rank(0)).what(), "what: rank 0");
  EXPECT_STREQ(Error(Error(ErrorKind::runtime, "what").advice("do that")).what(), "what; do that");
}

TEST(Error, keeps_its_parts) {
  const auto error = full("");
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_EQ(error.summary(), "what");
  EXPECT_EQ(error.file(), "file");
  EXPECT_EQ(error.tensor(), "tensor");
  EXPECT_EQ(error.rank(), 3);
  EXPECT_EQ(error.os_error(), ENOENT);
}

TEST(Error, kinds_are_the_exit_codes) {
  EXPECT_EQ(static_cast<int>(ErrorKind::runtime), 1);
  EXPECT_EQ(static_cast<int>(ErrorKind::usage), 2);
  EXPECT_EQ(static_cast<int>(ErrorKind::invalid_input), 3);
  EXPECT_EQ(static_cast<int>(ErrorKind::stopped), 75);
}

TEST(Error, is_one_line_whatever_the_names_hold) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 50; ++i) text += static_cast<char>(random() % 256);
    const std::string line = full(text).what();
    for (const char c : line) {
      ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) << static_cast<int>(c);
    }
    ASSERT_GT(line.size(), 5 * text.size() - 5);  // nothing else was cut
  }
}

TEST(Error, shortens_a_long_tensor_name_in_its_line_only) {
  const std::string name = std::string(399, 'n') + "\xC3\xBC" + std::string(1000, 'n');
  const Error error = Error(ErrorKind::runtime, "what").tensor(name);
  EXPECT_EQ(error.what(), "what: tensor " + std::string(399, 'n') + "...");  // not cut within a character
  EXPECT_EQ(error.tensor(), name);
}

TEST(Error, survives_being_sent) {
  for (const auto& sent : {full(std::string("\0\n\xFF", 3)), Error(ErrorKind::stopped, "")}) {
    ByteWriter out;
    sent.serialise(out);
    ByteReader in(out.bytes());
    const auto got = Error::deserialise(in);
    EXPECT_TRUE(in.at_end());
    EXPECT_STREQ(got.what(), sent.what());
    EXPECT_EQ(got.kind(), sent.kind());
    EXPECT_EQ(got.summary(), sent.summary());
    EXPECT_EQ(got.file(), sent.file());
    EXPECT_EQ(got.tensor(), sent.tensor());
    EXPECT_EQ(got.rank(), sent.rank());
    EXPECT_EQ(got.os_error(), sent.os_error());
  }
}

}  // namespace
}  // namespace winnow::base
