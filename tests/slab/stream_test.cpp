#include "winnow/slab/stream.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::slab {
namespace {

using base::DType;
using base::ErrorKind;
using checkpoint::Catalogue;
using test::expect_error;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kEverything = ~std::uint64_t{0};

/// A module whose tensors start at odd offsets of two files, and the bytes of its tensors.
struct Pair {
  ModuleTask task;
  Catalogue base, aligned;
  std::vector<std::byte> base_bytes, aligned_bytes;
};

class SlabStreamTest : public testing::Test {
 protected:
  Pair make(const std::string& name, std::uint64_t rows, std::uint64_t columns, DType base, DType aligned,
            std::uint64_t base_offset = 13, std::uint64_t aligned_offset = 1) const {
    Pair pair;
    pair.task.name = name;
    pair.task.weight = name + ".weight";
    pair.task.out_features = rows;
    pair.task.in_features = columns;
    pair.task.base = {0, base_offset, rows * columns * base::element_bytes(base), base, {rows, columns}};
    pair.task.aligned = {0, aligned_offset, rows * columns * base::element_bytes(aligned), aligned, {rows, columns}};
    pair.base.shards = {{directory_ / (name + "-base"), 0}};
    pair.aligned.shards = {{directory_ / (name + "-aligned"), 0}};
    pair.base_bytes = write(pair.base.shards[0].path, pair.task.base, 1);
    pair.aligned_bytes = write(pair.aligned.shards[0].path, pair.task.aligned, 2);
    return pair;
  }

  /// About 72 MB of pair, of odd columns: several slabs of two dtypes.
  Pair make_large() const { return make("large", 3001, 3999, DType::bf16, DType::f32); }

  /// A file that ends with this tensor, of random bytes. Returns the tensor's.
  static std::vector<std::byte> write(const std::string& path, const checkpoint::TensorLocation& tensor,
                                      std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint64_t> words(tensor.bytes / sizeof(std::uint64_t) + 1);
    for (auto& word : words) word = random();
    std::vector<std::byte> bytes(tensor.bytes);
    if (!bytes.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
    std::ofstream out(path, std::ios::binary);
    out << std::string(tensor.offset, 'x');
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    EXPECT_TRUE(out.flush());
    return bytes;
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<Reader> reader_ = make_buffered_reader();
};

/// Expects one pass to hand out the pair, row after row. Returns the number of slabs.
int expect_whole_pass(SlabStream& stream, const Pair& pair) {
  const auto& task = pair.task;
  std::uint64_t next = 0;
  int slabs = 0;
  stream.for_each([&](const Slab& slab) {
    ++slabs;
    EXPECT_EQ(slab.row_begin, next);
    EXPECT_EQ(slab.columns, task.columns());
    EXPECT_EQ(slab.base_dtype, task.base.dtype);
    EXPECT_EQ(slab.aligned_dtype, task.aligned.dtype);
    const auto same = [&](const std::byte* found, DType dtype, const std::vector<std::byte>& expected) {
      const std::uint64_t row = task.columns() * base::element_bytes(dtype);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(found) % base::element_bytes(dtype), 0u);
      ASSERT_LE((slab.row_begin + slab.rows) * row, expected.size());
      EXPECT_EQ(std::memcmp(found, expected.data() + slab.row_begin * row, slab.rows * row), 0)
          << "slab at row " << slab.row_begin;
    };
    same(slab.base, slab.base_dtype, pair.base_bytes);
    same(slab.aligned, slab.aligned_dtype, pair.aligned_bytes);
    next += slab.rows;
  });
  EXPECT_EQ(next, task.rows());
  return slabs;
}

TEST_F(SlabStreamTest, HandsOutTheSameSlabsResidentOrNot) {
  const auto pair = make_large();
  for (const std::uint64_t resident : {kEverything, pair.task.bytes(), pair.task.bytes() - 1, std::uint64_t{0}}) {
    SlabStream stream(*reader_, pair.base, pair.aligned, resident);
    stream.open(pair.task);
    const int slabs = expect_whole_pass(stream, pair);
    EXPECT_EQ(slabs, static_cast<int>(split(pair.task).size()));
    EXPECT_GE(slabs, 3);
    EXPECT_EQ(expect_whole_pass(stream, pair), slabs);
  }
}

TEST_F(SlabStreamTest, ReadsAResidentModuleOnceAndALargerOneOncePerPass) {
  const auto pair = make_large();
  for (const bool resident : {true, false}) {
    const auto reader = make_buffered_reader();
    SlabStream stream(*reader, pair.base, pair.aligned, resident ? pair.task.bytes() : pair.task.bytes() - 1);
    stream.open(pair.task);
    stream.for_each([](const Slab&) {});
    EXPECT_EQ(reader->bytes_read(), pair.task.bytes());
    stream.for_each([](const Slab&) {});
    EXPECT_EQ(reader->bytes_read(), resident ? pair.task.bytes() : 2 * pair.task.bytes());
  }
}

TEST_F(SlabStreamTest, TakesEveryPairOfDTypesAndOddShapes) {
  int number = 0;
  for (const auto base : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const auto aligned : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
      for (const auto& [rows, columns] :
           std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 1}, {7, 13}, {1, 9}}) {
        const auto pair = make("m" + std::to_string(number++), rows, columns, base, aligned);
        for (const std::uint64_t resident : {kEverything, std::uint64_t{0}}) {
          SlabStream stream(*reader_, pair.base, pair.aligned, resident);
          stream.open(pair.task);
          EXPECT_EQ(expect_whole_pass(stream, pair), 1);
          EXPECT_EQ(expect_whole_pass(stream, pair), 1);
        }
      }
    }
  }
}

TEST_F(SlabStreamTest, RowsOfATransposedWeightAreInputFeatures) {
  auto pair = make("conv1d", 12, 5, DType::f32, DType::f32);
  pair.task.stored_transposed = true;
  pair.task.out_features = 5;
  pair.task.in_features = 12;
  SlabStream stream(*reader_, pair.base, pair.aligned, 0);
  stream.open(pair.task);
  EXPECT_EQ(expect_whole_pass(stream, pair), 1);
}

TEST_F(SlabStreamTest, OpensOneModuleAfterTheOther) {
  const auto large = make_large();
  auto small = make("small", 11, 3, DType::f16, DType::bf16);
  auto base = large.base, aligned = large.aligned;  // the small module lies in a second shard
  base.shards.push_back(small.base.shards[0]);
  aligned.shards.push_back(small.aligned.shards[0]);
  small.task.base.shard = small.task.aligned.shard = 1;
  for (const std::uint64_t resident : {kEverything, std::uint64_t{1000}}) {
    SlabStream stream(*reader_, base, aligned, resident);
    for (int round = 0; round < 2; ++round) {
      stream.open(small.task);
      expect_whole_pass(stream, small);
      expect_whole_pass(stream, small);
      stream.open(large.task);
      expect_whole_pass(stream, large);
    }
  }
}

TEST_F(SlabStreamTest, CallsBetweenBeforeEachSlabAndStopsWhereItThrows) {
  const auto pair = make_large();
  for (const std::uint64_t resident : {kEverything, std::uint64_t{0}}) {
    SlabStream stream(*reader_, pair.base, pair.aligned, resident);
    stream.open(pair.task);
    std::string calls;
    stream.for_each([&](const Slab&) { calls += 'u'; }, [&] { calls += 'b'; });
    EXPECT_EQ(calls, "bububu");

    int before = 0, used = 0;
    const auto stop_at_second = [&] {
      if (++before == 2) throw std::runtime_error("stop");
    };
    EXPECT_THROW(stream.for_each([&](const Slab&) { ++used; }, stop_at_second), std::runtime_error);
    EXPECT_EQ(used, 1);
    expect_whole_pass(stream, pair);  // a stopped pass leaves nothing half done
  }
}

TEST_F(SlabStreamTest, APassStoppedEarlyReadsTheRestOfAResidentModuleLater) {
  const auto pair = make_large();
  SlabStream stream(*reader_, pair.base, pair.aligned, kEverything);
  stream.open(pair.task);
  EXPECT_THROW(stream.for_each([](const Slab&) { throw std::runtime_error("stop"); }), std::runtime_error);
  expect_whole_pass(stream, pair);
  expect_whole_pass(stream, pair);
  EXPECT_EQ(reader_->bytes_read(), pair.task.bytes());
}

TEST_F(SlabStreamTest, AShardCutShortIsNamedWithItsTensor) {
  const auto pair = make_large();
  const auto& path = pair.aligned.shards[0].path;
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  for (const std::uint64_t resident : {kEverything, std::uint64_t{0}}) {
    SlabStream stream(*reader_, pair.base, pair.aligned, resident);
    stream.open(pair.task);
    int used = 0;
    expect_error(ErrorKind::runtime, AllOf(HasSubstr("ends too early"), HasSubstr(path), HasSubstr("large.weight")),
                 [&] { stream.for_each([&](const Slab&) { ++used; }); });
    EXPECT_EQ(used, 2);  // the slabs before the last are whole
  }
}

TEST_F(SlabStreamTest, AnAbsentShardIsNamedWithItsTensor) {
  const auto pair = make("gone", 4, 4, DType::f32, DType::f32);
  std::filesystem::remove(pair.base.shards[0].path);
  SlabStream stream(*reader_, pair.base, pair.aligned, kEverything);
  stream.open(pair.task);
  expect_error(ErrorKind::runtime, AllOf(HasSubstr(pair.base.shards[0].path), HasSubstr("gone.weight")),
               [&] { stream.for_each([](const Slab&) {}); });
}

TEST_F(SlabStreamTest, AModuleWithoutRowsHasNoSlabs) {
  const auto pair = make("empty", 0, 4, DType::f32, DType::f32);
  SlabStream stream(*reader_, pair.base, pair.aligned, kEverything);
  stream.open(pair.task);
  stream.for_each([](const Slab&) { FAIL(); });
}

}  // namespace
}  // namespace winnow::slab
