// Interrupted and resumed on other numbers of ranks: the report of a run that was not interrupted, bit for bit.
#include <gtest/gtest.h>

#include "mpi/mpi_main.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/pipeline/incarnation.hpp"

namespace winnow {
namespace {

using base::Error;
using base::ErrorKind;
using test::SharedDirectory;
using test::world;

const std::string kGolden = WINNOW_TEST_DATA "/golden";

pipeline::AuditOptions golden_options() {
  pipeline::AuditOptions options;
  options.base = kGolden + "/base";
  options.aligned = kGolden + "/aligned";
  options.zoo = kGolden + "/adapters";
  options.threads = 1;
  return options;
}

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

TEST(Resume, OneRefusalForAll) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal = directory / "journal";
  pipeline::audit(options, world(), {});
  options.resume = true;
  options.seed = 3;
  try {
    pipeline::audit(options, world(), {});
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("seed: 0 then, 3 now"));
  }
}

}  // namespace
}  // namespace winnow
