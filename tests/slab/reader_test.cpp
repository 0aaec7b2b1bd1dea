#include "winnow/slab/reader.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "slab/files.hpp"

namespace winnow::slab {
namespace {

using base::ErrorKind;
using test::bytes_at;
using test::expect_error;
using test::TemporaryDirectory;
using test::write_bytes;
using testing::AllOf;
using testing::HasSubstr;

TEST(Reader, ReadsAnyRangeOfAFile) {
  const TemporaryDirectory directory;
  const auto path = directory / "shard.safetensors";
  write_bytes(path, 100'003, 1);
  const auto reader = make_buffered_reader();
  std::mt19937_64 random(1);
  std::uint64_t total = 0;
  for (int round = 0; round < 200; ++round) {
    const std::uint64_t offset = random() % 100'003;
    std::vector<std::byte> found(random() % (100'003 - offset + 1));
    reader->read(path, offset, found, "w");
    ASSERT_EQ(found, bytes_at(offset, found.size(), 1));
    total += found.size();
    EXPECT_EQ(reader->bytes_read(), total);
  }
}

TEST(Reader, ReadsMoreFilesThanItKeepsOpen) {
  const TemporaryDirectory directory;
  constexpr std::uint64_t files = 40;
  const auto path = [&](std::uint64_t k) { return directory / ("shard-" + std::to_string(k)); };
  for (std::uint64_t k = 0; k < files; ++k) write_bytes(path(k), 300 + k, k);
  const auto reader = make_buffered_reader();
  std::vector<std::byte> found(200);
  for (int sweep = 0; sweep < 3; ++sweep) {  // files closed in one sweep are opened again in the next
    for (std::uint64_t k = 0; k < files; ++k) {
      const std::uint64_t file = sweep == 1 ? files - 1 - k : k;
      reader->read(path(file), 100 + file, found, "w");
      ASSERT_EQ(found, bytes_at(100 + file, 200, file));
      ASSERT_LE(test::open_files_below(directory.path()), 8u);
    }
  }
  EXPECT_EQ(reader->bytes_read(), 3 * files * 200);
}

TEST(Reader, OpensAFileInUseOnlyOnce) {
  const TemporaryDirectory directory;
  const auto one = directory / "one", two = directory / "two";
  write_bytes(one, 10, 1);
  write_bytes(two, 10, 2);
  const auto reader = make_buffered_reader();
  std::vector<std::byte> found(4);
  for (int k = 0; k < 10; ++k) {
    reader->read(one, 3, found, "w");
    EXPECT_EQ(found, bytes_at(3, 4, 1));
    reader->read(two, 5, found, "w");
    EXPECT_EQ(found, bytes_at(5, 4, 2));
  }
  EXPECT_EQ(test::open_files_below(directory.path()), 2u);
}

TEST(Reader, ClosesItsFiles) {
  const TemporaryDirectory directory;
  const auto path = directory / "one";
  write_bytes(path, 10, 1);
  {
    const auto reader = make_reader(IoMode::automatic);
    std::vector<std::byte> found(10);
    reader->read(path, 0, found, "w");
    EXPECT_EQ(test::open_files_below(directory.path()), 1u);
  }
  EXPECT_EQ(test::open_files_below(directory.path()), 0u);
}

TEST(Reader, AFileThatEndsTooEarlyIsNamedWithItsTensor) {
  const TemporaryDirectory directory;
  const auto path = directory / "short.safetensors";
  write_bytes(path, 100, 1);
  const auto reader = make_buffered_reader();
  std::vector<std::byte> bytes(60);
  expect_error(ErrorKind::runtime,
               AllOf(HasSubstr("ends too early"), HasSubstr(path), HasSubstr("model.layers.3.mlp.up_proj.weight"),
                     HasSubstr("60 bytes at offset 50, found 50")),
               [&] { reader->read(path, 50, bytes, "model.layers.3.mlp.up_proj.weight"); });
  EXPECT_EQ(reader->bytes_read(), 0u);
  reader->read(path, 40, bytes, "w");  // and still reads what is there
  EXPECT_EQ(bytes, bytes_at(40, 60, 1));
}

TEST(Reader, AnAbsentFileIsNamedWithItsTensor) {
  const TemporaryDirectory directory;
  const auto reader = make_buffered_reader();
  std::vector<std::byte> bytes(1);
  const auto path = directory / "absent.safetensors";
  expect_error(ErrorKind::runtime, AllOf(HasSubstr(path), HasSubstr("lm_head.weight"), HasSubstr("No such file")),
               [&] { reader->read(path, 0, bytes, "lm_head.weight"); });
  expect_error(ErrorKind::runtime, HasSubstr(directory.path()), [&] { reader->read(directory.path(), 0, bytes, "w"); });
}

TEST(Reader, ModesAreChosenByName) {
  EXPECT_EQ(parse_io_mode("auto"), IoMode::automatic);
  EXPECT_EQ(parse_io_mode("buffered"), IoMode::buffered);
  for (const auto* later : {"direct", "mmap"}) {
    expect_error(ErrorKind::usage, AllOf(HasSubstr(later), HasSubstr("not available"), HasSubstr("auto or buffered")),
                 [&] { parse_io_mode(later); });
  }
  for (const auto* unknown : {"", "Auto", "bufferedd"}) {
    expect_error(ErrorKind::usage, AllOf(HasSubstr("unknown --io"), HasSubstr("auto or buffered")),
                 [&] { parse_io_mode(unknown); });
  }
}

}  // namespace
}  // namespace winnow::slab
