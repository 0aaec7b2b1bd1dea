#include "winnow/slab/reader.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "slab/files.hpp"
#include "winnow/slab/aligned_buffer.hpp"

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
  const auto reader = make_reader(IoMode::buffered);
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
  const auto reader = make_reader(IoMode::buffered);
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

TEST(Reader, KeepsAsManyFilesOpenAsItIsAsked) {
  const TemporaryDirectory directory;
  const auto path = [&](std::uint64_t k) { return directory / ("adapter-" + std::to_string(k)); };
  for (std::uint64_t k = 0; k < 40; ++k) write_bytes(path(k), 10, k);
  for (const auto mode : {IoMode::automatic, IoMode::buffered, IoMode::direct, IoMode::mmap}) {
    const auto reader = make_reader(mode);
    const auto read_all = [&] {
      std::vector<std::byte> found(4);
      for (std::uint64_t k = 0; k < 40; ++k) {
        reader->read(path(k), 3, found, "w");
        EXPECT_EQ(found, bytes_at(3, 4, k));
      }
    };
    reader->keep_open(30);
    read_all();
    EXPECT_EQ(test::open_files_below(directory.path()), 30u);
    reader->keep_open(3);
    read_all();
    EXPECT_EQ(test::open_files_below(directory.path()), 3u);
  }
}

TEST(Reader, OpensAFileInUseOnlyOnce) {
  const TemporaryDirectory directory;
  const auto one = directory / "one", two = directory / "two";
  write_bytes(one, 10, 1);
  write_bytes(two, 10, 2);
  const auto reader = make_reader(IoMode::buffered);
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
  const auto reader = make_reader(IoMode::buffered);
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
  const auto reader = make_reader(IoMode::buffered);
  std::vector<std::byte> bytes(1);
  const auto path = directory / "absent.safetensors";
  expect_error(ErrorKind::runtime, AllOf(HasSubstr(path), HasSubstr("lm_head.weight"), HasSubstr("No such file")),
               [&] { reader->read(path, 0, bytes, "lm_head.weight"); });
  expect_error(ErrorKind::runtime, HasSubstr(directory.path()), [&] { reader->read(directory.path(), 0, bytes, "w"); });
}

/// Room as load() wants it.
struct Room {
  AlignedBuffer memory;
  std::span<std::byte> span(std::uint64_t bytes) {
    memory.reserve(room_for(bytes));
    return {memory.data(), static_cast<std::size_t>(room_for(bytes))};
  }
};

TEST(Reader, LoadsAnyRangeInEveryMode) {
  const TemporaryDirectory directory;
  const auto path = directory / "shard.safetensors";
  constexpr std::uint64_t size = 20'000'003;  // ends within a block; several reads of a large range
  write_bytes(path, size, 1);
  std::mt19937_64 random(1);
  for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
    const auto reader = make_reader(mode);
    Room room;
    std::uint64_t total = 0;
    for (int round = 0; round < 60; ++round) {
      const std::uint64_t offset = round == 0 ? 0 : random() % size;
      const std::uint64_t rest = size - offset;
      const std::uint64_t bytes = round % 20 == 0 ? rest : random() % std::min<std::uint64_t>(rest, 300'000) + 1;
      const auto loaded = reader->load(path, offset, bytes, room.span(bytes), "w");
      ASSERT_EQ(std::vector<std::byte>(loaded.data, loaded.data + bytes), bytes_at(offset, bytes, 1))
          << bytes << " bytes at " << offset;
      total += bytes;
      EXPECT_EQ(reader->bytes_read(), total);
    }
  }
}

TEST(Reader, AutoMapsWhatIsInThePageCacheAndReadsTheRestPastIt) {
  const TemporaryDirectory directory;
  const auto path = directory / "shard.safetensors";
  constexpr std::uint64_t size = 4 << 20;
  write_bytes(path, size, 1);
  Room room;
  const auto reader = make_reader(IoMode::automatic);
  reader->load(path, 5, size - 5, room.span(size), "w");
  EXPECT_EQ(reader->counts().mapped, size - 5);  // just written

  const int descriptor = ::open(path.c_str(), O_RDONLY);
  ASSERT_EQ(::fsync(descriptor), 0);
  ASSERT_EQ(::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED), 0);
  const auto in_memory = Mapping(base::File::open_for_reading(path), 0, size).resident();
  ::close(descriptor);
  if (in_memory > 0.5) GTEST_SKIP() << "the file system keeps its files in memory";
  const auto again = reader->load(path, 5, size - 5, room.span(size), "w");
  EXPECT_EQ(reader->counts().mapped, size - 5);
  EXPECT_EQ(reader->counts().direct + reader->counts().buffered, size - 5);
  EXPECT_EQ(std::vector<std::byte>(again.data, again.data + size - 5), bytes_at(5, size - 5, 1));
  reader->load(path, 0, 1000, room.span(1000), "w");
  EXPECT_GE(reader->counts().buffered, 1000u);  // too small for either
}

TEST(Reader, DirectSaysWhereTheFileSystemRefuses) {
  const std::string path = "/proc/self/cmdline";  // no file system of its kind has direct reads
  Room room;
  const auto reader = make_reader(IoMode::direct);
  expect_error(
      ErrorKind::runtime,
      AllOf(HasSubstr("refuses direct reads"), HasSubstr(path), HasSubstr("layer.weight"), HasSubstr("--io auto")),
      [&] { reader->load(path, 0, 1, room.span(1), "layer.weight"); });
}

TEST(Reader, LoadingPastTheEndIsNamedWithItsTensorInEveryMode) {
  const TemporaryDirectory directory;
  const auto path = directory / "short.safetensors";
  constexpr std::uint64_t size = 1'000'000;
  write_bytes(path, size, 1);
  for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
    const auto reader = make_reader(mode);
    Room room;
    for (const std::uint64_t offset : {0U, 1U, 999'999U, 2'000'000U}) {
      const auto found = offset > size ? 0 : size - offset;
      expect_error(ErrorKind::runtime,
                   AllOf(HasSubstr("ends too early"), HasSubstr(path), HasSubstr("layer.weight"),
                         HasSubstr("at offset " + std::to_string(offset) + ", found " + std::to_string(found))),
                   [&] { reader->load(path, offset, size + 1, room.span(size + 1), "layer.weight"); });
    }
    EXPECT_EQ(reader->bytes_read(), 0u);
  }
}

TEST(Mapping, ShowsZerosWhereItsFileWasCutShort) {
  const TemporaryDirectory directory;
  const auto path = directory / "shrinking";
  write_bytes(path, 1'000'000, 1);
  const auto file = base::File::open_for_reading(path);
  Mapping other(file, 10, 1000);
  Mapping mapping(file, 10, 999'990);
  EXPECT_EQ(mapping.data()[500'000], test::byte_at(500'010, 1));
  EXPECT_FALSE(mapping.broken());
  std::filesystem::resize_file(path, 100'000);
  EXPECT_EQ(mapping.data()[50'000], test::byte_at(50'010, 1));
  EXPECT_FALSE(mapping.broken());
  EXPECT_EQ(mapping.data()[900'000], std::byte{0});
  EXPECT_TRUE(mapping.broken());
  EXPECT_FALSE(other.broken());
  mapping.populate();  // the same for whole ranges
  const Mapping moved = std::move(mapping);
  EXPECT_TRUE(moved.broken());
}

TEST(Reader, AutoWithoutMappingCopiesWhatIsInThePageCache) {
  const TemporaryDirectory directory;
  const auto path = directory / "shard.safetensors";
  constexpr std::uint64_t size = 4 << 20;
  write_bytes(path, size, 1);
  Room room;
  const auto reader = make_reader(IoMode::automatic, false);
  const auto space = room.span(size);
  const auto loaded = reader->load(path, 5, size - 5, space, "w");
  EXPECT_EQ(reader->counts().mapped, 0U);
  EXPECT_EQ(reader->counts().buffered, size - 5);  // just written
  EXPECT_GE(loaded.data, space.data());
  EXPECT_LE(loaded.data + size - 5, space.data() + space.size());
  EXPECT_EQ(std::vector<std::byte>(loaded.data, loaded.data + size - 5), bytes_at(5, size - 5, 1));
}

TEST(Reader, MappingIsRefusedWhereMemoryOfOurOwnIsNeeded) {
  expect_error(ErrorKind::usage, AllOf(HasSubstr("--io mmap"), HasSubstr("--device cuda")),
               [] { make_reader(IoMode::mmap, false); });
}

TEST(Reader, ModesAreChosenByName) {
  EXPECT_EQ(parse_io_mode("auto"), IoMode::automatic);
  EXPECT_EQ(parse_io_mode("direct"), IoMode::direct);
  EXPECT_EQ(parse_io_mode("buffered"), IoMode::buffered);
  EXPECT_EQ(parse_io_mode("mmap"), IoMode::mmap);
  for (const auto* unknown : {"", "Auto", "bufferedd"}) {
    expect_error(ErrorKind::usage, AllOf(HasSubstr("unknown --io"), HasSubstr("auto, direct, buffered or mmap")),
                 [&] { parse_io_mode(unknown); });
  }
}

}  // namespace
}  // namespace winnow::slab
