#include "winnow/base/directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::base {
namespace {

namespace fs = std::filesystem;

TEST(Directory, GivesWhatItHoldsByNameAndFollowsLinks) {
  const test::TemporaryDirectory directory;
  directory.write("b", "");
  fs::create_directory(directory / "c");
  fs::create_directory_symlink(directory / "c", directory / "a");
  std::error_code error = std::make_error_code(std::errc::io_error);
  std::vector<std::string> names;
  for (const auto& entry : entries_of(directory.path(), error)) {
    names.push_back(entry.path().filename().string());
    EXPECT_EQ(entry.is_directory(), names.back() != "b");
  }
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_FALSE(error);
}

TEST(Directory, SaysWhyThereIsNothing) {
  const test::TemporaryDirectory directory;
  std::error_code error;
  EXPECT_TRUE(entries_of(directory / "absent", error).empty());
  EXPECT_EQ(error, std::errc::no_such_file_or_directory);
  EXPECT_TRUE(entries_of(directory.write("file", ""), error).empty());
  EXPECT_EQ(error, std::errc::not_a_directory);
}

TEST(Directory, IsThereOrCanBeMadeBelowTheNearest) {
  const test::TemporaryDirectory directory;
  EXPECT_EQ(require_directory_or_nothing(directory.path(), "--out"), fs::path(directory.path()));
  EXPECT_EQ(require_directory_or_nothing(directory / "a/b/c", "--out"), fs::path(directory.path()));
  EXPECT_FALSE(fs::exists(directory / "a"));
  const auto file = directory.write("file", "");
  for (const auto& path : {file, file + "/below"}) {
    test::expect_error(ErrorKind::usage,
                       ::testing::HasSubstr("--out is or is below what is not a directory: " + file + "; expected"),
                       [&] { require_directory_or_nothing(path, "--out"); });
  }
}

}  // namespace
}  // namespace winnow::base
