// An error on one rank, before, during and after the pass: every rank throws the same error, none hangs, and nothing is
// left half-written. A hang shows as the test's time limit.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <mutex>

#include "mpi/golden_audit.hpp"
#include "mpi/shared_directory.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using test::error_of;
using test::golden_options;
using test::kGolden;
using test::SharedDirectory;
using test::world;

/// Reads shards as usual until `left`, shared by all readers of a rank, is used up, then fails. An adapter that fails
/// is no error (quarantine_test.cpp).
class FailingReader final : public slab::Reader {
 public:
  explicit FailingReader(std::shared_ptr<std::atomic<int>> left) : left_(std::move(left)) {}
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override {
    if (path.find("/adapters/") == std::string::npos && (*left_)-- <= 0)
      throw Error(ErrorKind::runtime, "cannot read").os_error(EIO).file(path).tensor(tensor);
    inner_->read(path, offset, destination, tensor);
  }

 private:
  std::shared_ptr<std::atomic<int>> left_;
  std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
};

TEST(Failures, BeforeThePassAMissingCheckpoint) {
  auto missing = golden_options();
  missing.read.aligned = kGolden + "/nowhere";
  const auto error = error_of(missing);
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_EQ(error.file(), missing.read.aligned);
}

TEST(Failures, BeforeThePassAnAdapterUnderStrict) {
  const SharedDirectory directory;
  if (world().is_coordinator()) fs::create_directory(directory / "empty");
  world().barrier();
  auto strict = golden_options();
  strict.read.adapters = {directory / "empty"};
  strict.read.strict = true;
  EXPECT_EQ(error_of(strict).kind(), ErrorKind::invalid_input);
}

TEST(Failures, DuringThePassAReadErrorOnAnyRank) {
  for (int failing = 0; failing < world().size(); ++failing) {
    for (const int reads : {0, 2, 5}) {
      for (const int team : {1, 2}) {
        const SharedDirectory directory;
        auto broken = golden_options();
        broken.means.team = team;
        broken.write.report = directory / "report.h5";
        const auto left = std::make_shared<std::atomic<int>>(reads);
        broken.seams.make_reader = [&]() -> std::unique_ptr<slab::Reader> {
          if (world().rank() == failing) return std::make_unique<FailingReader>(left);
          return slab::make_reader(slab::IoMode::buffered);
        };
        const auto error = error_of(broken);
        EXPECT_EQ(error.kind(), ErrorKind::runtime);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("cannot read (Input/output error)"));
        EXPECT_EQ(error.rank(), world().size() > 1 ? failing : -1);
        EXPECT_FALSE(fs::exists(broken.write.report));
      }
    }
  }
}

/// Fails on one rank before, between or after the sums of one of its reductions.
class FailingPass final : public compute::AlignmentPass, private compute::TeamSums {
 public:
  FailingPass(const compute::PassOptions& options, int fail_at)
      : inner_(compute::make_alignment_pass(options)), left_(fail_at) {}

  void begin(const compute::FactorStack& stack, const compute::Operand& operand, const compute::Share& share) override {
    inner_->begin(stack, operand, share);
  }
  void pass1(const slab::Slab& slab) override { inner_->pass1(slab); }
  void pass2(const slab::Slab& slab) override { inner_->pass2(slab); }
  void reduce_pass1(compute::TeamSums& team) override {
    team_ = &team;
    inner_->reduce_pass1(*this);
    tick();
  }
  void reduce_pass2(compute::TeamSums& team) override {
    team_ = &team;
    inner_->reduce_pass2(*this);
    tick();
  }
  stats::ModuleStatistics finish() override { return inner_->finish(); }
  std::vector<double> y(std::size_t adapter) const override { return inner_->y(adapter); }
  std::vector<double> p(std::size_t adapter) const override { return inner_->p(adapter); }
  std::vector<compute::ElementStatistics> element_statistics(const std::function<void()>& between) override {
    return inner_->element_statistics(between);
  }
  std::string description() const override { return inner_->description(); }

 private:
  void sum(std::span<float> values) override {
    tick();
    team_->sum(values);
  }
  void sum(std::span<double> values) override {
    tick();
    team_->sum(values);
  }
  void tick() {
    if (left_-- == 0) throw std::runtime_error("copy to the device failed");
  }

  std::unique_ptr<compute::AlignmentPass> inner_;
  compute::TeamSums* team_ = nullptr;
  int left_;
};

TEST(Failures, DuringThePassAReductionOnAnyRank) {
  if (world().size() == 1) GTEST_SKIP() << "adds nothing up";
  for (int failing = 0; failing < world().size(); ++failing) {
    for (const int team : {2, 3}) {
      for (int point = 0; point < 5; ++point) {
        auto broken = golden_options();
        broken.means.team = team;
        broken.seams.make_pass = [&](const compute::PassOptions& pass) -> std::unique_ptr<compute::AlignmentPass> {
          return std::make_unique<FailingPass>(pass, world().rank() == failing ? point : -1);
        };
        const auto error = error_of(broken);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("copy to the device failed"));
        EXPECT_EQ(error.rank(), failing);
      }
    }
  }
}

TEST(Failures, DuringThePassAShardThatWasCutShort) {
  const SharedDirectory directory;
  auto cut = golden_options();
  cut.read.aligned = directory / "aligned";
  if (world().is_coordinator()) fs::copy(kGolden + "/aligned", cut.read.aligned);
  world().barrier();
  // The headers are read before the first reader is made: the file shrinks in between, as under a failing copy.
  const auto shard = cut.read.aligned + "/model-00002-of-00002.safetensors";
  cut.seams.make_reader = [&] {
    std::error_code ignored;
    fs::resize_file(shard, 20'000, ignored);
    return slab::make_reader(slab::IoMode::buffered);
  };
  const auto error = error_of(cut);
  EXPECT_EQ(error.file(), shard);
  EXPECT_FALSE(error.tensor().empty());
}

TEST(Failures, BeforeThePassAReportThatHasNoPlace) {
  const SharedDirectory directory;
  auto unwritable = golden_options();
  unwritable.write.report = directory / "no/such/folder/report.h5";
  unwritable.seams.make_reader = []() -> std::unique_ptr<slab::Reader> {
    throw std::logic_error("the pass has begun");
  };
  const auto error = error_of(unwritable);
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("no/such/folder"));
}

TEST(Failures, AfterThePassAReportThatDoesNotFitTheDisk) {
  const SharedDirectory directory;
  auto full = golden_options();
  full.write.report = directory / "report.h5";
  // A limit on the size of files stands in for a full disk.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto error = error_of(full);
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(error.kind(), ErrorKind::runtime);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("report.h5"));
  EXPECT_TRUE(fs::is_empty(directory / "")) << "half a report is left";
}

TEST(Failures, BeforeThePassAnAdapterThatHasNoPlace) {
  const SharedDirectory directory;
  auto occupied = golden_options();
  occupied.write.repair = adapter::Repair::drop;
  occupied.write.repaired_dir = directory / "repaired";
  if (world().is_coordinator()) {
    fs::create_directories(occupied.write.repaired_dir + "/adapter-001");
    fs::copy_file(kGolden + "/README.md", occupied.write.repaired_dir + "/adapter-001/mine.txt");
  }
  world().barrier();
  occupied.seams.make_reader = []() -> std::unique_ptr<slab::Reader> { throw std::logic_error("the pass has begun"); };
  const auto error = error_of(occupied);
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("adapter-001"));
}

TEST(Failures, AfterThePassAnAdapterThatCannotBeWritten) {
  const SharedDirectory directory;
  auto occupied = golden_options();
  occupied.write.report = directory / "report.h5";
  occupied.write.repair = adapter::Repair::drop;
  occupied.write.repaired_dir = directory / "repaired";
  // Someone else's data in the way of the second adapter, which the second rank writes. It comes while the pass runs:
  // what is there before is refused before.
  std::once_flag once;
  occupied.seams.make_reader = [&] {
    if (!world().is_coordinator()) return slab::make_reader(slab::IoMode::buffered);
    std::call_once(once, [&] {
      fs::create_directories(occupied.write.repaired_dir + "/adapter-001");
      fs::copy_file(kGolden + "/README.md", occupied.write.repaired_dir + "/adapter-001/mine.txt");
    });
    return slab::make_reader(slab::IoMode::buffered);
  };
  const auto error = error_of(occupied);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("adapter-001"));
  world().barrier();
  EXPECT_TRUE(fs::exists(occupied.write.report)) << "what was found is kept";
  EXPECT_TRUE(fs::exists(occupied.write.repaired_dir + "/adapter-001/mine.txt"));
  for (const auto& entry : fs::directory_iterator(occupied.write.repaired_dir)) {
    EXPECT_TRUE(entry.path().filename().string().starts_with("adapter-00")) << "left behind: " << entry.path();
  }
}

TEST(Failures, ARunAfterAFailedOneIsUntouchedByIt) {
  auto missing = golden_options();
  missing.read.aligned = kGolden + "/nowhere";
  error_of(missing);
  const auto report = pipeline::audit(golden_options(), world(), {}).report;
  EXPECT_EQ(report.modules.size(), world().is_coordinator() ? 35U : 0U);
}

TEST(Failures, MoreTeamsThanModules) {
  auto small = golden_options();
  small.read.zoo.clear();
  small.read.adapters = {kGolden + "/adapters/adapter-004"};
  small.measure.subspace_rank = 0;
  for (const int team : {0, 1, 3}) {
    small.means.team = team;
    const auto report = pipeline::audit(small, world(), {}).report;
    EXPECT_EQ(report.modules.size(), world().is_coordinator() ? 10U : 0U);
  }
}

}  // namespace
}  // namespace winnow
