// Interrupted and resumed on other numbers of ranks: the report of a run that was not interrupted, bit for bit.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "mpi/golden_audit.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/pipeline/incarnation.hpp"

namespace winnow {
namespace {

using base::Error;
using base::ErrorKind;
using test::error_of;
using test::golden_options;
using test::SharedDirectory;
using test::world;

/// Calls work(communicator) on the first team of `ranks`, which is of all where it would be the only one; others wait.
template <class Work>
void on_ranks(int ranks, Work work) {
  {
    const auto part = world().team(ranks);
    if (comm::team_of(world().rank(), world().size(), ranks) == 0) work(*part);
  }
  world().barrier();
}

/// Fails on the last rank once that has finished `modules`.
void fail_after(std::uint64_t modules, pipeline::AuditOptions options, comm::Communicator& part) {
  const bool fails = part.rank() == part.size() - 1;
  options.progress = [&](const pipeline::Progress& progress) {
    if (fails && progress.modules_done >= modules) throw Error(ErrorKind::runtime, "failed on purpose");
  };
  EXPECT_THROW(pipeline::audit(options, part, {}), Error);
}

std::string uninterrupted(const pipeline::AuditOptions& options) {
  const auto alone = comm::make_self();
  return test::report_fingerprint(pipeline::audit(options, *alone, {}).report);
}

TEST(Resume, OnOtherNumbersOfRanksIsBitIdentical) {
  for (const int resumed_on : {1, 2, 3, world().size()}) {
    if (resumed_on > world().size()) continue;
    const SharedDirectory directory;
    auto options = golden_options();
    options.element_statistics = true;
    const auto whole = uninterrupted(options);
    options.journal = directory / "journal";
    on_ranks(world().size(), [&](auto& all) { fail_after(1, options, all); });
    options.resume = true;
    on_ranks(resumed_on, [&](auto& part) { fail_after(2, options, part); });
    EXPECT_EQ(pipeline::find_incarnations(options.journal).size(), 2U);
    std::uint64_t share = 0;
    options.progress = [&](const pipeline::Progress& progress) { share = progress.modules; };
    const auto report = pipeline::audit(options, world(), {}).report;
    if (world().is_coordinator()) {
      EXPECT_EQ(test::report_fingerprint(report), whole);
      EXPECT_LT(share, 35U) << "nothing was taken from the journal";
    }
  }
}

TEST(Resume, TeamsOfAnInterruptedRunGoOn) {
  auto options = golden_options();
  options.team = 2;
  const SharedDirectory directory;
  const auto whole = pipeline::audit(options, world(), {}).report;
  options.journal = directory / "journal";
  on_ranks(world().size(), [&](auto& all) { fail_after(2, options, all); });
  options.resume = true;
  const auto resumed = pipeline::audit(options, world(), {}).report;
  options.team = 0;  // whatever it would be by itself, that of the journal
  const auto again = pipeline::audit(options, world(), {}).report;
  if (!world().is_coordinator()) return;
  EXPECT_EQ(resumed.action, whole.action);
  EXPECT_EQ(test::report_fingerprint(resumed), test::report_fingerprint(again)) << "all of it from the journal";
  EXPECT_EQ(std::get<std::int64_t>(again.attributes.at("team")), std::min(2, world().size()));
}

TEST(Resume, OnRanksOfWhichTheTeamAskedForCannotBe) {
  auto options = golden_options();
  options.team = 3;
  for (const auto& [first, second] : {std::pair{1, world().size()}, std::pair{world().size(), 1}}) {
    const SharedDirectory directory;
    options.journal = directory / "journal";
    options.resume = false;
    on_ranks(first, [&](auto& part) { fail_after(2, options, part); });
    options.resume = true;
    on_ranks(second, [&](auto& part) {
      const auto report = pipeline::audit(options, part, {}).report;
      if (!part.is_coordinator()) return;
      EXPECT_EQ(std::get<std::int64_t>(report.attributes.at("team")), std::min(3, second));
      EXPECT_GE(std::get<std::int64_t>(report.attributes.at("resumed_modules")), 2);
    });
  }
}

/// What a run says that was asked to stop.
std::string stopped(const pipeline::AuditOptions& options) {
  try {
    pipeline::audit(options, world(), {});
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), 75) << error.what();
    return error.what();
  }
  return "done";
}

/// That a rank makes once it has finished `modules`.
void ask_to_stop(pipeline::AuditOptions& options, std::shared_ptr<std::uint64_t> finished, std::uint64_t modules) {
  options.progress = [=](const pipeline::Progress& progress) { *finished = progress.modules_done; };
  options.stop_requested = [=] { return *finished >= modules; };
}

TEST(Stop, WhicheverRankIsAsked) {
  auto options = golden_options();
  const auto whole = uninterrupted(options);
  for (int asked = 0; asked < world().size(); ++asked) {
    for (const int team : {1, 2}) {
      const SharedDirectory directory;
      auto stopping = options;
      stopping.team = team;
      stopping.journal = directory / "journal";
      stopping.report = directory / "report.h5";
      const auto finished = std::make_shared<std::uint64_t>(0);
      ask_to_stop(stopping, finished, world().rank() == asked ? 2 : 1'000);
      const auto said = stopped(stopping);
      EXPECT_THAT(said,
                  ::testing::MatchesRegex("stopped at a signal after [0-9]+ of 35 modules; run again with --resume"));
      EXPECT_FALSE(std::filesystem::exists(stopping.report));
      stopping.resume = true;
      stopping.stop_requested = {};
      stopping.progress = {};
      const auto report = pipeline::audit(stopping, world(), {}).report;
      if (world().is_coordinator() && (team == 1 || world().size() == 1)) {
        EXPECT_EQ(test::report_fingerprint(report), whole);
      }
    }
  }
}

TEST(Stop, WhileTheAdaptersAreOpened) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal = directory / "journal";
  options.stop_requested = [] { return true; };
  EXPECT_THAT(stopped(options),
              ::testing::MatchesRegex(
                  "stopped at a signal while the adapters were opened(: rank [0-9])?; run again with --resume"));
  options.resume = true;
  options.stop_requested = {};
  EXPECT_EQ(stopped(options), "done") << "no journal was begun";
}

TEST(Stop, BeforeTheFirstModule) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal = directory / "journal";
  const auto opened = std::make_shared<std::atomic<bool>>(false);
  options.make_reader = [=] {
    *opened = true;
    return slab::make_reader(slab::IoMode::buffered);
  };
  options.stop_requested = [=] { return opened->load(); };
  EXPECT_THAT(stopped(options), ::testing::StartsWith("stopped at a signal after 0 of 35"));
}

TEST(Stop, AModuleThatTakesTooLongIsGivenUp) {
  for (const int team : {1, 2}) {
    const SharedDirectory directory;
    auto options = golden_options();
    options.team = team;
    options.journal = directory / "journal";
    options.stop_grace = std::chrono::milliseconds(0);
    // Asked when weights are read already: within the first module of the coordinator.
    const auto reading = std::make_shared<std::atomic<bool>>(false);
    options.make_reader = [=] {
      *reading = true;
      return slab::make_reader(slab::IoMode::buffered);
    };
    options.stop_requested = [=] { return world().is_coordinator() && reading->load(); };
    const auto said = stopped(options);
    EXPECT_THAT(said, ::testing::StartsWith("stopped at a signal after "));
    options.resume = true;
    options.stop_requested = {};
    const auto report = pipeline::audit(options, world(), {}).report;
    if (world().is_coordinator() && team == 1) {
      EXPECT_EQ(test::report_fingerprint(report), uninterrupted(golden_options()));
    }
  }
}

TEST(Stop, ARequestAfterTheLastModuleStopsNothing) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal = directory / "journal";
  const auto finished = std::make_shared<bool>(false);
  options.progress = [=](const pipeline::Progress& progress) { *finished = progress.modules_done == progress.modules; };
  // Of a single rank only: elsewhere others may still have modules to do.
  options.stop_requested = [=] { return world().size() == 1 && *finished; };
  EXPECT_EQ(stopped(options), "done");
}

TEST(Stop, AnErrorMeanwhileIsToldAndLeavesNothingBehind) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal = directory / "journal";
  const auto asked = std::make_shared<std::atomic<bool>>(false);
  options.stop_requested = [=] { return asked->load(); };
  options.stop_grace = std::chrono::hours(1);
  options.make_reader = [=]() -> std::unique_ptr<slab::Reader> {
    *asked = true;
    throw Error(ErrorKind::runtime, "cannot read").os_error(EIO);
  };
  const auto error = error_of(options);
  EXPECT_EQ(error.kind(), ErrorKind::runtime) << error.what();
  EXPECT_FALSE(world().stop_requested());
}

TEST(Resume, OneRefusalForAll) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal = directory / "journal";
  pipeline::audit(options, world(), {});
  options.resume = true;
  options.seed = 3;
  const auto error = error_of(options);
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("seed: 0 then, 3 now"));
}

}  // namespace
}  // namespace winnow
