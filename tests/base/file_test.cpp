#include "winnow/base/file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::base {
namespace {

std::string text_at(const File& file, std::uint64_t offset, std::size_t size) {
  std::string text(size, '?');
  file.read_exact(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

TEST(File, reads_at_any_offset) {
  const test::TemporaryDirectory directory;
  const auto file = File::open_for_reading(directory.write("f", "0123456789"));
  EXPECT_EQ(file.size(), 10U);
  EXPECT_EQ(text_at(file, 3, 4), "3456");
  EXPECT_EQ(text_at(file, 0, 10), "0123456789");
  EXPECT_EQ(text_at(file, 10, 0), "");
}

TEST(File, that_ends_too_early_is_named) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("f", "0123456789");
  const auto file = File::open_for_reading(path);
  test::expect_error(ErrorKind::runtime,
                     "file ends too early: " + path +
                         "; expected 4 bytes at offset 8, found 2; it may have been changed or truncated while it was "
                         "read",
                     [&] { text_at(file, 8, 4); });
}

TEST(File, that_cannot_be_opened_is_named) {
  const test::TemporaryDirectory directory;
  test::expect_error(ErrorKind::runtime, "cannot open file (No such file or directory): " + (directory / "absent"),
                     [&] { File::open_for_reading(directory / "absent"); });
  test::expect_error(ErrorKind::runtime, "cannot open file (Is a directory): " + directory.path(),
                     [&] { File::open_for_reading(directory.path()); });
  test::expect_error(ErrorKind::runtime, "cannot read file: /dev/null; expected a plain file",
                     [&] { File::open_for_reading("/dev/null"); });
}

TEST(File, creates_only_what_is_not_there) {
  const test::TemporaryDirectory directory;
  auto file = File::create_new(directory / "f");
  file.append(std::string_view("ab"));
  file.append(std::as_bytes(std::span("c", 1)));
  file.sync();
  file.close();
  file.close();  // once more does nothing
  EXPECT_EQ(test::read_whole(directory / "f"), "abc");
  test::expect_error(ErrorKind::runtime, "cannot create file (File exists): " + (directory / "f"),
                     [&] { File::create_new(directory / "f"); });
}

TEST(File, write_errors_name_the_file) {
  const test::TemporaryDirectory directory;
  auto file = File::open_for_reading(directory.write("f", ""));
  test::expect_error(ErrorKind::runtime, "cannot write file (Bad file descriptor): " + (directory / "f"),
                     [&] { file.append(std::string_view("x")); });
}

TEST(File, is_moved) {
  const test::TemporaryDirectory directory;
  auto first = File::open_for_reading(directory.write("f", "1"));
  auto second = File::open_for_reading(directory.write("g", "2"));
  const int descriptor = second.descriptor();
  first = std::move(second);
  EXPECT_EQ(first.descriptor(), descriptor);
  EXPECT_EQ(first.path(), directory / "g");
  EXPECT_EQ(text_at(first, 0, 1), "2");
  const File third(std::move(first));
  EXPECT_EQ(text_at(third, 0, 1), "2");
}

TEST(AtomicFile, appears_whole) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("f", "old");
  atomic_write_file(path, "new");
  EXPECT_EQ(test::read_whole(path), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(AtomicFile, leaves_nothing_without_commit) {
  const test::TemporaryDirectory directory;
  {
    AtomicFile file(directory / "f");
    file.append(std::string_view("x"));
    EXPECT_TRUE(std::filesystem::exists(file.temporary()));
    EXPECT_FALSE(std::filesystem::exists(file.path()));
  }
  EXPECT_TRUE(directory.is_empty());
}

// A job that was killed leaves its temporary file; the same process number may come again.
TEST(AtomicFile, is_not_stopped_by_what_a_killed_job_left) {
  const test::TemporaryDirectory directory;
  std::string left;
  {
    AtomicFile file(directory / "f");
    left = file.temporary();
  }
  directory.write(std::filesystem::path(left).filename().string(), "left");
  atomic_write_file(directory / "f", "new");
  EXPECT_EQ(test::read_whole(directory / "f"), "new");
  EXPECT_EQ(test::read_whole(left), "left");
}

TEST(TextFile, has_a_limit) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("f", "12345");
  EXPECT_EQ(read_text_file(path, 5), "12345");
  test::expect_error(ErrorKind::invalid_input,
                     "file is too large to be what its name says: " + path + "; expected at most 4 bytes, found 5",
                     [&] { read_text_file(path, 4); });
}

TEST(TextFile, may_be_absent) {
  const test::TemporaryDirectory directory;
  EXPECT_EQ(read_text_file_if_exists(directory / "absent", 5), std::nullopt);
  EXPECT_EQ(read_text_file_if_exists(directory.write("f", ""), 5), "");
  EXPECT_EQ(read_text_file_if_exists(directory / "f/below", 5), std::nullopt);
  test::expect_error(ErrorKind::runtime, "cannot open file (No such file or directory): " + (directory / "absent"),
                     [&] { read_text_file(directory / "absent", 5); });
  // A link to nothing is a mistake, not an absent file.
  std::filesystem::create_symlink(directory / "absent", directory / "link");
  EXPECT_THROW(read_text_file_if_exists(directory / "link", 5), Error);
}

TEST(Sha256, of_the_standard_examples) {  // FIPS 180-4
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.update(std::string(1000, 'a'));
  EXPECT_EQ(hash.finish(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  hash.update("abc");  // begins anew
  EXPECT_EQ(hash.finish(), sha256_hex("abc"));
}

TEST(Sha256, of_a_file_larger_than_its_buffer) {
  const test::TemporaryDirectory directory;
  const std::string text = std::string((2U << 20) + 17, 'x') + "y";
  EXPECT_EQ(sha256_file(directory.write("f", text)), sha256_hex(text));
  EXPECT_EQ(sha256_file(directory.write("empty", "")), sha256_hex(""));
}

}  // namespace
}  // namespace winnow::base
