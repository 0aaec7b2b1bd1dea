#include "winnow/slab/stream.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
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

constexpr std::uint64_t kPlenty = 1ULL << 30;
constexpr std::uint64_t kTestSlabBytes = 1'700'000;

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
    pair.base.shards = {{directory_ / (name + "-base"), 0, {}}};
    pair.aligned.shards = {{directory_ / (name + "-aligned"), 0, {}}};
    pair.base_bytes = write(pair.base.shards[0].path, pair.task.base, 1);
    pair.aligned_bytes = write(pair.aligned.shards[0].path, pair.task.aligned, 2);
    return pair;
  }

  /// One tensor: a direction.
  Pair make_single(const std::string& name, std::uint64_t rows, std::uint64_t columns, DType dtype) const {
    auto pair = make(name, rows, columns, dtype, dtype);
    std::filesystem::remove(pair.base.shards[0].path);
    pair.task.base = {};
    pair.base_bytes.clear();
    return pair;
  }

  /// About 7 MB of pair, of odd columns: several slabs of two dtypes.
  Pair make_large() const { return make("large", 301, 3999, DType::bf16, DType::f32); }

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
};

std::vector<StreamedModule> streamed(const std::vector<const Pair*>& pairs, std::size_t sweeps) {
  std::vector<StreamedModule> modules;
  for (const auto* pair : pairs) modules.push_back({&pair->task, split(pair->task, kTestSlabBytes), sweeps});
  return modules;
}

StreamOptions options(IoMode mode, std::uint64_t memory_bytes, int readers = 2) {
  StreamOptions options;
  options.memory_bytes = memory_bytes;
  options.most_readers = readers;
  options.make_reader = [mode] { return make_reader(mode); };
  return options;
}

/// Expects one sweep to hand out the pair, row after row. Returns the number of slabs.
int expect_whole_sweep(SlabStream& stream, const Pair& pair) {
  const auto& task = pair.task;
  std::uint64_t next = 0;
  int slabs = 0;
  stream.for_each([&](const Slab& slab) {
    ++slabs;
    EXPECT_EQ(slab.row_begin, next);
    EXPECT_EQ(slab.columns, task.columns());
    if (task.has_base()) {
      EXPECT_EQ(slab.base_dtype, task.base.dtype);
    }
    EXPECT_EQ(slab.aligned_dtype, task.aligned.dtype);
    const auto same = [&](const std::byte* found, DType dtype, const std::vector<std::byte>& expected) {
      const std::uint64_t row = task.columns() * base::element_bytes(dtype);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(found) % base::element_bytes(dtype), 0u);
      ASSERT_LE((slab.row_begin + slab.rows) * row, expected.size());
      EXPECT_EQ(std::memcmp(found, expected.data() + slab.row_begin * row, slab.rows * row), 0)
          << "slab at row " << slab.row_begin;
    };
    if (task.has_base()) {
      same(slab.base, slab.base_dtype, pair.base_bytes);
    } else {
      EXPECT_EQ(slab.base, nullptr);
    }
    same(slab.aligned, slab.aligned_dtype, pair.aligned_bytes);
    next += slab.rows;
  });
  EXPECT_EQ(next, task.rows());
  return slabs;
}

TEST_F(SlabStreamTest, HandsOutTheSameSlabsHoweverLittleMemoryAndHoweverRead) {
  const auto pair = make_large();
  const auto modules = streamed({&pair}, 3);
  ASSERT_GE(modules[0].slabs.size(), 3u);
  for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
    for (const std::uint64_t slots : {2, 3, 4, 100}) {
      for (const int readers : {1, 4}) {
        SlabStream stream(pair.base, pair.aligned, modules, options(mode, slots * slab_memory(modules), readers));
        for (int sweep = 0; sweep < 3; ++sweep) {
          EXPECT_EQ(expect_whole_sweep(stream, pair), static_cast<int>(modules[0].slabs.size()));
        }
      }
    }
  }
}

TEST_F(SlabStreamTest, KeepsWhatFitsAndReadsTheRestOnceASweep) {
  const auto pair = make_large();
  const auto modules = streamed({&pair}, 2);
  const auto slabs = modules[0].slabs.size();
  const std::uint64_t row = pair.task.bytes() / pair.task.rows();
  for (std::size_t slots = 2; slots <= slabs + 1; ++slots) {
    SlabStream stream(pair.base, pair.aligned, modules, options(IoMode::buffered, slots * slab_memory(modules)));
    expect_whole_sweep(stream, pair);
    expect_whole_sweep(stream, pair);
    std::uint64_t again = 0;
    for (std::size_t k = slots - 2; slots < slabs && k < slabs; ++k) again += modules[0].slabs[k].rows * row;
    EXPECT_EQ(stream.counts().buffered, pair.task.bytes() + again) << slots << " slots";
    EXPECT_EQ(stream.counts().total(), stream.counts().buffered);
    EXPECT_EQ(bytes_to_read(modules, slots * slab_memory(modules)), stream.counts().total());
  }
}

TEST_F(SlabStreamTest, RefusesMemoryForLessThanTwoSlabs) {
  const auto pair = make_large();
  const auto modules = streamed({&pair}, 2);
  EXPECT_EQ(least_stream_memory(modules), 2 * slab_memory(modules));
  expect_error(ErrorKind::usage, HasSubstr("not enough memory"), [&] {
    SlabStream(pair.base, pair.aligned, modules, options(IoMode::buffered, least_stream_memory(modules) - 1));
  });
}

TEST_F(SlabStreamTest, TakesEveryPairOfDTypesAndOddShapes) {
  int number = 0;
  for (const auto base : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
    for (const auto aligned : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
      for (const auto& [rows, columns] :
           std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 1}, {7, 13}, {1, 9}, {61, 997}}) {
        const auto pair = make("m" + std::to_string(number++), rows, columns, base, aligned);
        for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
          SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), options(mode, kPlenty));
          EXPECT_EQ(expect_whole_sweep(stream, pair), 1);
          EXPECT_EQ(expect_whole_sweep(stream, pair), 1);
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
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 1), options(IoMode::buffered, kPlenty));
  EXPECT_EQ(expect_whole_sweep(stream, pair), 1);
}

TEST_F(SlabStreamTest, StreamsOneModuleAfterTheOther) {
  const auto large = make_large();
  auto small = make("small", 11, 3, DType::f16, DType::bf16);
  auto base = large.base, aligned = large.aligned;  // the small module lies in a second shard
  base.shards.push_back(small.base.shards[0]);
  aligned.shards.push_back(small.aligned.shards[0]);
  small.task.base.shard = small.task.aligned.shard = 1;
  const auto modules = streamed({&small, &large, &small, &large, &large}, 2);
  for (const std::uint64_t slots : {2, 3, 5, 100}) {
    SlabStream stream(base, aligned, modules, options(IoMode::automatic, slots * slab_memory(modules), 3));
    for (const auto* pair : std::vector<const Pair*>{&small, &large, &small, &large, &large}) {
      expect_whole_sweep(stream, *pair);
      expect_whole_sweep(stream, *pair);
    }
    EXPECT_EQ(bytes_to_read(modules, slots * slab_memory(modules)), stream.counts().total()) << slots << " slots";
  }
}

/// Pairs and directions of several sources, one after the other.
struct Mixture {
  std::vector<Pair> operands;
  std::vector<Source> sources;
  std::vector<StreamedModule> modules;

  explicit Mixture(std::vector<Pair> all) : operands(std::move(all)) {
    for (std::uint32_t k = 0; k < operands.size(); ++k) {
      auto& task = operands[k].task;
      task.source = k;
      const bool single = !task.has_base();
      task.sweeps = single ? 1 : 2;
      sources.push_back({single ? nullptr : &operands[k].base, &operands[k].aligned});
      modules.push_back({&task, split(task, kTestSlabBytes), task.sweeps});
    }
  }
};

TEST_F(SlabStreamTest, StreamsPairsAndSingleTensorsOfSeveralSources) {
  for (const auto& order : {std::vector<int>{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {1, 0, 3, 2, 4}, {1, 3}, {1}}) {
    std::vector<Pair> operands;
    for (const int which : order) {
      const auto name = "operand-" + std::to_string(which);
      if (which == 0) operands.push_back(make(name, 301, 3999, DType::bf16, DType::f32));
      if (which == 1) operands.push_back(make_single(name, 301, 3999, DType::f64));
      if (which == 2) operands.push_back(make(name, 11, 3, DType::f16, DType::bf16));
      if (which == 3) operands.push_back(make_single(name, 7, 13, DType::bf16));
      if (which == 4) operands.push_back(make_single(name, 1201, 2999, DType::bf16));
    }
    const Mixture mixture(std::move(operands));
    for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
      for (const std::uint64_t slots : {2, 3, 5, 100}) {
        for (const int readers : {1, 4}) {
          const auto memory = slots * slab_memory(mixture.modules);
          SlabStream stream(mixture.sources, mixture.modules, options(mode, memory, readers));
          for (const auto& operand : mixture.operands) {
            for (std::uint32_t sweep = 0; sweep < operand.task.sweeps; ++sweep) {
              SCOPED_TRACE(testing::Message()
                           << operand.task.name << " in sweep " << sweep << ", " << slots << " slots");
              expect_whole_sweep(stream, operand);
            }
          }
          EXPECT_EQ(bytes_to_read(mixture.modules, memory), stream.counts().total());
        }
      }
    }
  }
}

TEST_F(SlabStreamTest, ADirectionIsReadOnceHoweverLittleMemory) {
  const Mixture mixture({make_single("direction", 1201, 2999, DType::f32)});
  ASSERT_GE(mixture.modules[0].slabs.size(), 5U);
  SlabStream stream(mixture.sources, mixture.modules, options(IoMode::buffered, 2 * slab_memory(mixture.modules)));
  expect_whole_sweep(stream, mixture.operands[0]);
  EXPECT_EQ(stream.counts().total(), mixture.operands[0].task.bytes());
  expect_error(ErrorKind::usage, HasSubstr("not enough memory"), [&] {
    SlabStream(mixture.sources, mixture.modules, options(IoMode::buffered, least_stream_memory(mixture.modules) - 1));
  });
}

TEST_F(SlabStreamTest, AFailureIsOfTheSourceItCameFrom) {
  for (const int broken : {0, 1, 2}) {
    const Mixture mixture({make("pair", 40, 50, DType::f32, DType::f32), make_single("one", 40, 50, DType::f32),
                           make_single("two", 40, 50, DType::f32)});
    const auto& path = mixture.operands[static_cast<std::size_t>(broken)].aligned.shards[0].path;
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
      SlabStream stream(mixture.sources, mixture.modules, options(mode, kPlenty));
      int whole = 0;
      expect_error(ErrorKind::runtime, AllOf(HasSubstr("ends too early"), HasSubstr(path)), [&] {
        for (const auto& operand : mixture.operands) {
          for (std::uint32_t sweep = 0; sweep < operand.task.sweeps; ++sweep) stream.for_each([](const Slab&) {});
          ++whole;
        }
      });
      EXPECT_EQ(whole, broken);
    }
  }
}

TEST_F(SlabStreamTest, ReadsAheadAsFarAsMemoryAllowsAndNoFarther) {
  const auto large = make_large();
  const auto modules = streamed({&large, &large, &large}, 1);
  const auto& slabs = modules[0].slabs;
  const std::size_t slots = 4;
  SlabStream stream(large.base, large.aligned, modules, options(IoMode::buffered, slots * slab_memory(modules)));
  const auto row = large.task.bytes() / large.task.rows();
  const auto first = [&](std::size_t count) {
    std::uint64_t bytes = 0;
    for (std::size_t k = 0; k < std::min(count, 3 * slabs.size()); ++k) bytes += slabs[k % slabs.size()].rows * row;
    return bytes;
  };
  std::size_t taken = 0;
  for (std::size_t module = 0; module < modules.size(); ++module) {
    stream.for_each([&](const Slab&) {  // while one is in use, the slots but its own hold those that follow
      while (stream.counts().total() < first(taken + slots)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_EQ(stream.counts().total(), first(taken + slots)) << "slab " << taken;
      ++taken;
    });
  }
  EXPECT_EQ(taken, 3 * slabs.size());
}

TEST_F(SlabStreamTest, ShowsWhatIsReadyOfTheNextModuleInTheLastSweepOnly) {
  const auto large = make_large();
  const auto modules = streamed({&large, &large, &large}, 2);
  const auto slabs = modules[0].slabs.size();
  for (const std::size_t slots : {std::size_t{2}, std::size_t{3}, slabs, 3 * slabs}) {
    SCOPED_TRACE(testing::Message() << slots << " slots");
    SlabStream stream(large.base, large.aligned, modules, options(IoMode::buffered, slots * slab_memory(modules)));
    EXPECT_FALSE(stream.ready_ahead(0));
    std::vector<Slab> shown;
    for (std::size_t module = 0; module < modules.size(); ++module) {
      std::size_t used = 0;
      stream.for_each([&](const Slab& slab) {
        EXPECT_FALSE(stream.ready_ahead(0));
        if (used < shown.size()) {
          EXPECT_EQ(slab, shown[used]) << "handed out where it was shown";
        }
        ++used;
      });
      EXPECT_LE(shown.size(), used);
      used = 0;
      shown.clear();
      stream.for_each([&](const Slab&) {
        if (++used < slabs || module + 1 == modules.size()) return;
        // The last slab: one slot at least is free for the next module.
        while (!stream.ready_ahead(0)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        for (std::size_t k = 0; const auto ahead = stream.ready_ahead(k); ++k) shown.push_back(*ahead);
        EXPECT_LE(shown.size(), std::min(slabs, slots - 1));
        for (const auto& ahead : shown) {
          const auto row = ahead.columns * base::element_bytes(ahead.base_dtype);
          EXPECT_EQ(std::memcmp(ahead.base, large.base_bytes.data() + ahead.row_begin * row, ahead.rows * row), 0);
        }
      });
      EXPECT_FALSE(stream.ready_ahead(0)) << "no sweep is under way";
    }
  }
}

TEST_F(SlabStreamTest, CallsBetweenBeforeEachSlabAndStopsWhereItThrows) {
  const auto pair = make_large();
  const auto slabs = static_cast<int>(split(pair.task, kTestSlabBytes).size());
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), options(IoMode::buffered, kPlenty));
  int between = 0, used = 0;
  stream.for_each([&](const Slab&) { EXPECT_GT(between, used++); }, [&] { ++between; });
  EXPECT_EQ(used, slabs);
  EXPECT_GE(between, slabs);
  const auto stop = [] { throw std::runtime_error("stop"); };
  EXPECT_THROW(stream.for_each([](const Slab&) { FAIL(); }, stop), std::runtime_error);
}

/// A storage that answers only when told to.
class StuckReader final : public Reader {
 public:
  explicit StuckReader(std::atomic<bool>& answers) : answers_(answers) {}
  void read(const std::string&, std::uint64_t, std::span<std::byte> destination, std::string_view) override {
    while (!answers_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::fill(destination.begin(), destination.end(), std::byte{0});
  }

 private:
  std::atomic<bool>& answers_;
};

TEST_F(SlabStreamTest, CallsBetweenWhileTheStorageDoesNotAnswer) {
  const auto pair = make("stuck", 4, 4, DType::f32, DType::f32);
  std::atomic<bool> answers = false;
  StreamOptions stuck;
  stuck.make_reader = [&] { return std::make_unique<StuckReader>(answers); };
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 1), stuck);
  int calls = 0;
  const auto give_up = [&] {
    if (++calls == 3) throw std::runtime_error("a peer has failed");
  };
  EXPECT_THROW(stream.for_each([](const Slab&) { FAIL(); }, give_up), std::runtime_error);
  answers = true;  // the reader cannot be interrupted in a system call
}

TEST_F(SlabStreamTest, AShardCutShortIsNamedWithItsTensor) {
  const auto pair = make_large();
  const auto& path = pair.aligned.shards[0].path;
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  const auto slabs = static_cast<int>(split(pair.task, kTestSlabBytes).size());
  for (const auto mode : {IoMode::automatic, IoMode::direct, IoMode::buffered, IoMode::mmap}) {
    SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), options(mode, kPlenty));
    int used = 0;
    expect_error(ErrorKind::runtime, AllOf(HasSubstr("ends too early"), HasSubstr(path), HasSubstr("large.weight")),
                 [&] { stream.for_each([&](const Slab&) { ++used; }); });
    EXPECT_EQ(used, slabs - 1);  // the slabs before the last are whole
  }
}

TEST_F(SlabStreamTest, AShardCutShortUnderItsMappingIsNamedWithItsTensor) {
  const auto pair = make("large", 301, 3999, DType::bf16, DType::f32, 16, 16);  // aligned: used where it is mapped
  const auto& path = pair.base.shards[0].path;
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), options(IoMode::mmap, kPlenty));
  stream.for_each([](const Slab&) {});
  std::filesystem::resize_file(path, 100);
  expect_error(ErrorKind::runtime,
               AllOf(HasSubstr("mapped file cannot be read"), HasSubstr(path), HasSubstr("large.weight")), [&] {
                 stream.for_each([&](const Slab& slab) {
                   const auto row = slab.columns * base::element_bytes(slab.base_dtype);
                   EXPECT_EQ(slab.base[(slab.rows - 1) * row + row - 1], std::byte{0});  // and no SIGBUS
                 });
               });
}

TEST_F(SlabStreamTest, AnAbsentShardIsNamedWithItsTensor) {
  const auto pair = make("gone", 4, 4, DType::f32, DType::f32);
  std::filesystem::remove(pair.base.shards[0].path);
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), options(IoMode::automatic, kPlenty));
  expect_error(ErrorKind::runtime, AllOf(HasSubstr(pair.base.shards[0].path), HasSubstr("gone.weight")),
               [&] { stream.for_each([](const Slab&) {}); });
}

TEST_F(SlabStreamTest, AReaderThatCannotBeMadeEndsTheSweep) {
  const auto pair = make("small", 4, 4, DType::f32, DType::f32);
  StreamOptions broken;
  broken.make_reader = []() -> std::unique_ptr<Reader> { throw std::runtime_error("no reader"); };
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), broken);
  EXPECT_THROW(stream.for_each([](const Slab&) { FAIL(); }), std::runtime_error);
}

TEST_F(SlabStreamTest, AModuleWithoutRowsHasNoSlabs) {
  const auto pair = make("empty", 0, 4, DType::f32, DType::f32);
  EXPECT_EQ(bytes_to_read(streamed({&pair}, 2), kPlenty), 0U);
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), options(IoMode::automatic, kPlenty));
  stream.for_each([](const Slab&) { FAIL(); });
  stream.for_each([](const Slab&) { FAIL(); });
}

/// Remembers what lies in prepared memory.
class RecordedMemory final : public HostMemory {
 public:
  void prepare(std::byte* memory, std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    blocks_[memory] = bytes;
  }
  void forget(std::byte* memory) noexcept override {
    const std::lock_guard lock(mutex_);
    forgotten_ += blocks_.erase(memory);
  }
  bool holds(const std::byte* first, std::uint64_t bytes) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(blocks_.begin(), blocks_.end(), [&](const auto& block) {
      return first >= block.first && first + bytes <= block.first + block.second;
    });
  }
  std::size_t blocks() const {
    const std::lock_guard lock(mutex_);
    return blocks_.size();
  }
  std::size_t forgotten() const {
    const std::lock_guard lock(mutex_);
    return forgotten_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<const std::byte*, std::size_t> blocks_;
  std::size_t forgotten_ = 0;
};

TEST_F(SlabStreamTest, SlabsLieInPreparedMemoryWhichIsForgottenInTheEnd) {
  const auto pair = make_large();
  const auto modules = streamed({&pair}, 2);
  RecordedMemory memory;
  {
    auto prepared = options(IoMode::automatic, 3 * slab_memory(modules), 2);
    prepared.make_reader = [] { return make_reader(IoMode::automatic, false); };
    prepared.host_memory = &memory;
    SlabStream stream(pair.base, pair.aligned, modules, prepared);
    for (int sweep = 0; sweep < 2; ++sweep) {
      stream.for_each([&](const Slab& slab) {
        const auto count = slab.rows * slab.columns;
        EXPECT_TRUE(memory.holds(slab.base, count * base::element_bytes(slab.base_dtype)));
        EXPECT_TRUE(memory.holds(slab.aligned, count * base::element_bytes(slab.aligned_dtype)));
      });
    }
    EXPECT_LE(memory.blocks(), 6U);  // both halves of three slots: reused, not made anew for each slab
    EXPECT_EQ(memory.forgotten(), 0U);
    EXPECT_EQ(stream.counts().mapped, 0U);
  }
  EXPECT_EQ(memory.blocks(), 0U);
  EXPECT_GT(memory.forgotten(), 0U);
}

TEST_F(SlabStreamTest, MemoryThatCannotBePreparedEndsTheSweep) {
  struct Refused final : HostMemory {
    void prepare(std::byte*, std::size_t) override { throw base::Error(ErrorKind::runtime, "cannot page-lock"); }
    void forget(std::byte*) noexcept override { ADD_FAILURE() << "it was never prepared"; }
  };
  const auto pair = make("small", 4, 4, DType::f32, DType::f32);
  Refused memory;
  auto refused = options(IoMode::buffered, kPlenty);
  refused.host_memory = &memory;
  SlabStream stream(pair.base, pair.aligned, streamed({&pair}, 2), refused);
  expect_error(ErrorKind::runtime, HasSubstr("cannot page-lock"),
               [&] { stream.for_each([](const Slab&) { FAIL(); }); });
}

}  // namespace
}  // namespace winnow::slab
