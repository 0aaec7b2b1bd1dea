// A journal and what --resume makes of it, on one rank. Any number of ranks: tests/mpi/resume_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/expect_error.hpp"
#include "input/tiny_family.hpp"
#include "mpi/report_fingerprint.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/journal/incarnation.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow::pipeline {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using run::AuditOptions;
using run::Progress;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Resume : public ::testing::Test {
 protected:
  Resume() : options(family.options({family.write_adapter("one", TinyFamily::adapter(1)), two()})) {
    whole = test::report_fingerprint(run());
    options.journal.directory = family.directory / "journal";
    options.write.report = family.directory / "report.h5";
  }

  std::string two() { return family.write_adapter("two", TinyFamily::adapter(2)); }

  report::Report run() {
    said.clear();
    return audit(options, *comm::make_self(), base::Log([this](base::LogLevel, std::string_view text) {
                   said += text;
                   said += '\n';
                 }))
        .report;
  }

  /// Begins a journal and fails after some modules, as a run that is killed does.
  void fail_after(std::uint64_t modules) {
    options.progress = [=](const Progress& progress) {
      if (progress.modules_done == modules) throw Error(ErrorKind::runtime, "failed on purpose");
    };
    test::expect_error(ErrorKind::runtime, HasSubstr("on purpose"), [&] { run(); });
    EXPECT_FALSE(fs::exists(options.write.report));
    options.progress = {};
    options.journal.resume = true;
  }

  std::uint64_t modules_computed() {
    std::uint64_t computed = 0;
    options.progress = [&](const Progress& progress) { computed = progress.modules_done; };
    EXPECT_EQ(test::report_fingerprint(run()), whole);
    options.progress = {};
    return computed;
  }

  TinyFamily family;
  AuditOptions options;
  std::string whole, said;
};

TEST_F(Resume, DoesWhatIsLeftAndGivesTheSameReport) {
  fail_after(3);
  EXPECT_EQ(modules_computed(), 5U);
  EXPECT_EQ(said, "");
  EXPECT_TRUE(fs::exists(options.write.report));
}

TEST_F(Resume, AgainAndAgain) {
  for (int incarnation = 0; incarnation < TinyFamily::kLayers - 1; ++incarnation) fail_after(1);
  EXPECT_EQ(modules_computed(), 1U);
  EXPECT_EQ(journal::find_incarnations(options.journal.directory).size(), std::size_t{TinyFamily::kLayers});
}

TEST_F(Resume, OfAFinishedRunReadsNoWeights) {
  run();
  options.journal.resume = true;
  options.seams.make_reader = []() -> std::unique_ptr<slab::Reader> { throw std::logic_error("weights are read"); };
  EXPECT_EQ(test::report_fingerprint(run()), whole);
}

TEST_F(Resume, KeepsStatisticsOfSingleEntries) {
  options.measure.element_statistics = true;
  options.journal.directory.clear();
  whole = test::report_fingerprint(run());
  options.journal.directory = family.directory / "journal";
  fs::remove(options.write.report);
  fail_after(3);
  EXPECT_EQ(modules_computed(), 5U);
}

TEST_F(Resume, KeepsWhatIsWrongWithWeightsAndAdapters) {
  family.aligned[TinyFamily::weight(1)].values[17] = std::nanf("");
  auto broken = TinyFamily::adapter(2);
  broken[TinyFamily::key(0, "lora_B")].values[3] = INFINITY;
  family.write_adapter("two", broken);
  auto plain = options = family.options(options.read.adapters);
  whole = test::report_fingerprint(run());
  const auto warnings = said;
  options.journal.directory = family.directory / "other";
  fail_after(3);
  EXPECT_EQ(modules_computed(), 5U);
  EXPECT_EQ(said, warnings);
}

TEST_F(Resume, ATornJournalIsToldAndComputedAgain) {
  fail_after(3);
  const auto file = journal::find_incarnations(options.journal.directory).at(0).rank_file(0);
  fs::resize_file(file, fs::file_size(file) - 1);
  EXPECT_EQ(modules_computed(), 6U);
  EXPECT_THAT(said, AllOf(HasSubstr("torn or damaged at byte "), HasSubstr(file)));
}

TEST_F(Resume, OtherSelectionsMayBeMadeOfTheSameScores) {
  fail_after(3);
  options.judge.policy = {select::Policy::Kind::prune_top, 8};
  options.judge.rank_by = "misalignment";
  options.means.threads = 3;
  options.means.memory_budget /= 2;
  run();
}

TEST_F(Resume, OtherOptionsAreRefusedSayingWhatDiffers) {
  fail_after(3);
  options.measure.seed = 7;
  options.read.adapter.unit_scale = true;
  test::expect_error(
      ErrorKind::usage,
      AllOf(HasSubstr("of other inputs or options: " + options.journal.directory), HasSubstr("seed: 0 then, 7 now"),
            HasSubstr("scaling: peft then, none now"), Not(HasSubstr("subspace_rank"))),
      [&] { run(); });
  EXPECT_EQ(journal::find_incarnations(options.journal.directory).size(), 1U) << "a refused run leaves no trace";
}

TEST_F(Resume, OtherInputsAreRefusedSayingWhatDiffers) {
  fail_after(3);
  const auto refused = [&](const auto& line) { test::expect_error(ErrorKind::usage, line, [&] { run(); }); };
  options.read.adapters.pop_back();
  refused(HasSubstr("adapters: 2 then, 1 now"));
  two();
  options.read.adapters = {options.read.adapters[0], family.write_adapter("two", TinyFamily::adapter(3))};
  refused(HasSubstr("adapters two sha256: "));
  two();
  family.directory.write("two/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 5, "target_modules": ["up_proj"]})");
  refused(HasSubstr("adapters two alpha: 4.0 then, 5.0 now"));
}

TEST_F(Resume, SwappedCheckpointsAreOtherWeights) {
  fail_after(3);
  std::swap(options.read.base, options.read.aligned);
  test::expect_error(ErrorKind::invalid_input,
                     AllOf(HasSubstr("the journal is of other weights: " + options.read.base + "/model.safetensors"),
                           HasSubstr("tensor " + TinyFamily::weight(0)), HasSubstr("5 more differ")),
                     [&] { run(); });
  EXPECT_EQ(journal::find_incarnations(options.journal.directory).size(), 1U) << "a refused run leaves no trace";
}

TEST_F(Resume, FilesThatWereTouchedAreReadAgainOnceAndGoOn) {
  fail_after(3);
  const auto shard = options.read.aligned + "/model.safetensors";
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(10));
  EXPECT_EQ(modules_computed(), 5U);
  EXPECT_THAT(said, HasSubstr("3 weights that have been scored are read again"));
  // What was verified is known under the new state, and what came after it as well.
  options.seams.make_reader = []() -> std::unique_ptr<slab::Reader> { throw std::logic_error("weights are read"); };
  EXPECT_EQ(test::report_fingerprint(run()), whole);
}

TEST_F(Resume, ARunThatDiesBeforeItsFirstModuleForgetsNothing) {
  fail_after(3);
  const auto shard = options.read.base + "/model.safetensors";
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(10));
  std::filesystem::create_directory(options.journal.directory +
                                    "/incarnation-0002");  // neither description nor weights yet
  EXPECT_EQ(modules_computed(), 5U);
  EXPECT_THAT(said, HasSubstr("3 weights that have been scored are read again"));
}

TEST_F(Resume, AJournalWhoseNoteOfTheWeightsIsDamagedReadsThemAgain) {
  fail_after(3);
  std::ofstream(journal::find_incarnations(options.journal.directory).at(0).directory + "/weights.json") << "{";
  EXPECT_EQ(modules_computed(), 5U);
  EXPECT_THAT(said, HasSubstr("6 weights that have been scored are read again"));
}

TEST_F(Resume, AJournalIsNotBegunTwice) {
  fail_after(3);
  options.journal.resume = false;
  test::expect_error(ErrorKind::usage, HasSubstr("add --resume"), [&] { run(); });
}

TEST_F(Resume, ARunThatWasTakenOverWritesNothing) {
  options.write.repair = adapter::Repair::drop;
  options.write.repaired_dir = family.directory / "repaired";
  options.progress = [&](const Progress& progress) {
    if (progress.modules_done == progress.modules)
      fs::create_directory(options.journal.directory + "/incarnation-0002");
  };
  test::expect_error(ErrorKind::runtime, HasSubstr("taken over"), [&] { run(); });
  EXPECT_FALSE(fs::exists(options.write.report));
  EXPECT_FALSE(fs::exists(options.write.repaired_dir));
}

TEST_F(Resume, AFullDiskLosesNothingThatWasNoted) {
  // A limit on the size of files stands in for a full disk: room for a description and some records.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{2048, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  test::expect_error(ErrorKind::runtime, AllOf(HasSubstr("rank-0000.journal"), HasSubstr("run again with --resume")),
                     [&] { run(); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(fs::exists(options.write.report));
  options.journal.resume = true;
  EXPECT_LT(modules_computed(), 8U);
}

}  // namespace
}  // namespace winnow::pipeline
