// Files that change between planning and reading. What shows is told, naming the file; what cannot show (bytes that
// change without a trace) must not end in a crash or a hang. Every way of reading, any number of ranks.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>

#include "mpi/golden_audit.hpp"
#include "mpi/shared_directory.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using test::kGolden;
using test::SharedDirectory;
using test::world;

constexpr slab::IoMode kModes[] = {slab::IoMode::automatic, slab::IoMode::buffered, slab::IoMode::mmap};

/// A copy of the golden data that is damaged when the first reader is made, which is after all headers were read.
class Damaged {
 public:
  Damaged(slab::IoMode mode, std::function<void(const Damaged&)> damage) {
    if (world().is_coordinator()) {
      for (const char* part : {"base", "aligned", "adapters"}) {
        fs::copy(kGolden + "/" + part, directory_ / part, fs::copy_options::recursive);
      }
    }
    world().barrier();
    options_.read.base = directory_ / "base";
    options_.read.aligned = directory_ / "aligned";
    options_.read.zoo = directory_ / "adapters";
    options_.write.report = directory_ / "report.h5";
    options_.means.threads = 1;
    options_.seams.make_reader = [=, this] {
      // On the coordinator alone, so that there is one writer; other ranks may have begun to read.
      std::call_once(once_, [&] {
        if (world().is_coordinator()) damage(*this);
      });
      return slab::make_reader(mode);
    };
  }

  std::string shard() const { return directory_ / "aligned/model-00002-of-00002.safetensors"; }
  std::string adapter() const { return directory_ / "adapters/adapter-001/adapter_model.safetensors"; }

  /// The report, or what was thrown.
  std::optional<Error> run() {
    try {
      report_ = pipeline::audit(options_, world(), {}).report;
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(options_.write.report));
      return error;
    }
    return std::nullopt;
  }
  const report::Report& report() const { return report_; }
  run::AuditOptions& options() { return options_; }

 private:
  SharedDirectory directory_;
  run::AuditOptions options_;
  std::once_flag once_;
  report::Report report_;
};

void flip_bits(const std::string& path, unsigned seed, int count, bool tells) {
  struct stat before {};
  ::stat(path.c_str(), &before);
  std::mt19937 engine(seed);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = fs::file_size(path), header = size / 2;  // headers are small: the second half is data
    for (int k = 0; k < count; ++k) {
      const auto at = static_cast<std::streamoff>(header + engine() % (size - header));
      file.seekg(at);
      const auto byte = static_cast<char>(file.get() ^ (1 << (engine() % 8)));
      file.seekp(at);
      file.put(byte);
    }
  }
  if (tells) return;
  const timespec times[] = {before.st_atim, before.st_mtim};
  ::utimensat(AT_FDCWD, path.c_str(), times, 0);
}

TEST(Damage, AShardCutShortIsTold) {
  for (const auto mode : kModes) {
    Damaged damaged(mode, [](const Damaged& it) { fs::resize_file(it.shard(), 20'000); });
    const auto error = damaged.run();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), ErrorKind::runtime);
    EXPECT_EQ(error->file(), damaged.shard());
  }
}

TEST(Damage, AnAdapterCutShortIsQuarantinedAlone) {
  for (const auto mode : kModes) {
    Damaged damaged(mode, [](const Damaged& it) { fs::resize_file(it.adapter(), 3'000); });
    ASSERT_FALSE(damaged.run());
    if (!world().is_coordinator()) continue;
    for (std::size_t n = 0; n < damaged.report().adapters.size(); ++n) {
      EXPECT_EQ(damaged.report().adapters[n].status, n == 1 ? "quarantined" : "ok");
    }
  }
}

TEST(Damage, AShardThatIsWrittenToIsTold) {
  for (const auto mode : kModes) {
    Damaged damaged(mode, [](const Damaged& it) { flip_bits(it.shard(), 1, 5, true); });
    const auto error = damaged.run();
    ASSERT_TRUE(error);
    EXPECT_THAT(error->what(), ::testing::HasSubstr("file was changed while it was read: " + damaged.shard()));
  }
}

TEST(Damage, AnAdapterThatIsWrittenToIsQuarantinedAlone) {
  Damaged damaged(slab::IoMode::automatic, [](const Damaged& it) { flip_bits(it.adapter(), 2, 5, true); });
  ASSERT_FALSE(damaged.run());
  if (!world().is_coordinator()) return;
  for (std::size_t n = 0; n < damaged.report().adapters.size(); ++n) {
    EXPECT_EQ(damaged.report().adapters[n].status, n == 1 ? "quarantined" : "ok");
  }
  EXPECT_THAT(damaged.report().adapters[1].reason, ::testing::HasSubstr("changed while it was read"));
}

TEST(Damage, AnAdapterThatIsWrittenToEndsAStrictRun) {
  Damaged damaged(slab::IoMode::automatic, [](const Damaged& it) { flip_bits(it.adapter(), 2, 5, true); });
  damaged.options().read.strict = true;
  const auto error = damaged.run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::invalid_input);
}

TEST(Damage, AShardWithTensorsSwappedInItsPlaceIsTold) {
  Damaged damaged(slab::IoMode::automatic, [](const Damaged& it) {
    auto bytes = test::read_whole(it.shard());
    const auto data = bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 2);
    std::rotate(data, data + (bytes.end() - data) / 4 * 2, bytes.end());
    std::ofstream(it.shard() + ".new", std::ios::binary) << bytes;
    fs::rename(it.shard() + ".new", it.shard());
  });
  const auto error = damaged.run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->file(), damaged.shard());
}

// No trace is left: what comes out is a report or an error, of a weight that is not finite perhaps.
TEST(Damage, BitsThatFlipWithoutATraceEndNothing) {
  for (unsigned seed = 0; seed < 8; ++seed) {
    for (const bool in_adapter : {false, true}) {
      Damaged damaged(kModes[seed % 3],
                      [=](const Damaged& it) { flip_bits(in_adapter ? it.adapter() : it.shard(), seed, 40, false); });
      damaged.run();
      EXPECT_EQ(world().maximum(world().rank()), world().size() - 1) << "every rank is there";
    }
  }
}

}  // namespace
}  // namespace winnow
