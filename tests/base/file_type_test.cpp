#include "winnow/base/file_type.hpp"

#include <gtest/gtest.h>

#include <string>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::base {
namespace {

using std::filesystem::file_type;

TEST(FileType, IsOfWhatLinksLeadTo) {
  const test::TemporaryDirectory directory;
  const auto file = directory.write("file", "text");
  std::filesystem::create_symlink(file, directory / "link");
  std::filesystem::create_symlink("nowhere", directory / "dangling");
  EXPECT_EQ(type_of(file), file_type::regular);
  EXPECT_EQ(type_of(directory / "link"), file_type::regular);
  EXPECT_EQ(type_of(directory / ""), file_type::directory);
  EXPECT_EQ(type_of(directory / "absent"), file_type::not_found);
  EXPECT_EQ(type_of(directory / "dangling"), file_type::not_found);
  EXPECT_EQ(type_of(directory / "file/below"), file_type::not_found);
}

TEST(FileType, IsNotGuessedWhereItCannotBeFoundOut) {
  const std::string name = std::string(300, 'x');  // no file system has such long names
  test::expect_error(ErrorKind::runtime, testing::HasSubstr("cannot look at file (File name too long): " + name),
                     [&] { type_of(name); });
}

}  // namespace
}  // namespace winnow::base
