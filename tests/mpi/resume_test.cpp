// Interrupted and resumed on other numbers of ranks: the report of a run that was not interrupted, bit for bit.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "mpi/golden_audit.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/journal/incarnation.hpp"
#include "winnow/journal/journal_file.hpp"
#include "winnow/score/scores.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;

using base::Error;
using base::ErrorKind;
using test::error_of;
using test::golden_options;
using test::SharedDirectory;
using test::world;

/// Calls work(communicator) on the first team of `ranks`, which is of all if it would be the only one; others wait.
template <class Work>
void on_ranks(int ranks, Work work) {
  {
    const auto part = world().team(ranks);
    if (comm::team_of(world().rank(), world().size(), ranks) == 0) work(*part);
  }
  world().barrier();
}

/// Fails on the last rank once that has finished `modules`. The others go no further before: on a busy machine that
/// rank may be so late that nothing is left for another run. Not in teams, whose ranks meet after each module.
void fail_after(std::uint64_t modules, run::AuditOptions options, comm::Communicator& part) {
  const bool fails = part.rank() == part.size() - 1;
  const bool waits = options.means.team < 2;
  options.progress = [&](const run::Progress& progress) {
    if (progress.modules_done < modules) return;
    if (fails) throw Error(ErrorKind::runtime, "failed on purpose");
    while (waits && !part.notices().peer_failed()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  EXPECT_THROW(pipeline::audit(options, part, {}), Error);
}

std::string uninterrupted(const run::AuditOptions& options) {
  const auto alone = comm::make_self();
  return test::report_fingerprint(pipeline::audit(options, *alone, {}).report);
}

TEST(Resume, OnOtherNumbersOfRanksIsBitIdentical) {
  for (const int resumed_on : {1, 2, 3, world().size()}) {
    if (resumed_on > world().size()) continue;
    const SharedDirectory directory;
    auto options = golden_options();
    options.measure.element_statistics = true;
    const auto whole = uninterrupted(options);
    options.journal.directory = directory / "journal";
    on_ranks(world().size(), [&](auto& all) { fail_after(1, options, all); });
    options.journal.resume = true;
    on_ranks(resumed_on, [&](auto& part) { fail_after(2, options, part); });
    EXPECT_EQ(journal::find_incarnations(options.journal.directory).size(), 2U);
    std::uint64_t share = 0;
    options.progress = [&](const run::Progress& progress) { share = progress.modules; };
    const auto report = pipeline::audit(options, world(), {}).report;
    if (world().is_coordinator()) {
      EXPECT_EQ(test::report_fingerprint(report), whole);
      EXPECT_LT(share, 35U) << "nothing was taken from the journal";
    }
  }
}

/// A copy of the golden checkpoints, to be changed, and what the journal of a run on it says.
class Weights {
 public:
  explicit Weights(int team) {
    options_ = golden_options();
    options_.means.team = team;
    if (world().is_coordinator()) {
      for (const char* part : {"base", "aligned"}) {
        fs::copy(test::kGolden + "/" + part, directory_ / part, fs::copy_options::recursive);
      }
    }
    world().barrier();
    options_.read.base = directory_ / "base";
    options_.read.aligned = directory_ / "aligned";
    options_.journal.directory = directory_ / "journal";
    on_ranks(world().size(), [&](auto& all) { fail_after(1, options_, all); });
    options_.journal.resume = true;
  }

  run::AuditOptions& options() { return options_; }

  /// A weight that is journalled, or one that is not; the same on all ranks.
  std::string weight(bool scored) const {
    const auto incarnation = journal::find_incarnations(options_.journal.directory).at(0);
    const auto description = journal::read_description(incarnation).value();
    const auto modules = nlohmann::json::parse(description).at("modules").get<std::vector<std::string>>();
    std::set<std::uint64_t> known;
    for (const auto& file : journal::rank_files(incarnation)) {
      for (const auto& payload : journal::read_journal(file, base::sha256_hex(description)).payloads) {
        score::Scores scores;
        base::ByteReader in(payload);
        scores.append(in);
        known.insert(scores.modules.at(0).module);
      }
    }
    for (std::uint64_t module = 0; module < modules.size(); ++module) {
      if (known.contains(module) == scored) return modules[module] + ".weight";
    }
    ADD_FAILURE() << "no such module";
    return "";
  }

  /// Flips the lowest bit of a weight of the aligned checkpoint. Returns the file.
  std::string flip_bit(const std::string& weight) const {
    const auto catalogue = checkpoint::read_checkpoint(options_.read.aligned, {});
    const auto* tensor = catalogue.find(weight);
    const auto shard = catalogue.shards.at(tensor->shard).path;
    world().barrier();
    if (world().is_coordinator()) {
      std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
      const auto at = static_cast<std::streamoff>(tensor->offset + tensor->bytes / 2 / 8 * 8);
      file.seekg(at);
      const auto byte = static_cast<char>(file.get() ^ 1);
      file.seekp(at);
      file.put(byte);
      file.close();
      touch(shard);  // clocks of file systems are coarse
    }
    world().barrier();
    return shard;
  }

  static void touch(const std::string& file) {
    fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(10));
  }

 private:
  SharedDirectory directory_;
  run::AuditOptions options_;
};

TEST(OtherWeights, OneBitOfAWeightThatWasScoredIsRefusedByAll) {
  for (const int team : {1, 2}) {
    Weights weights(team);
    const auto weight = weights.weight(true);
    const auto shard = weights.flip_bit(weight);
    const auto error = error_of(weights.options());
    EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
    EXPECT_THAT(error.what(),
                ::testing::StartsWith("the journal is of other weights: " + shard + ", tensor " + weight));
    world().barrier();
    EXPECT_EQ(journal::find_incarnations(weights.options().journal.directory).size(), 1U);
  }
}

TEST(OtherWeights, OneBitOfAWeightThatWasNotScoredGoesOn) {
  for (const int team : {1, 2}) {
    Weights weights(team);
    weights.flip_bit(weights.weight(false));
    const auto report = pipeline::audit(weights.options(), world(), {}).report;
    if (!world().is_coordinator() || (team > 1 && world().size() > 1)) continue;
    auto plain = weights.options();
    plain.journal.directory.clear();
    plain.journal.resume = false;
    EXPECT_EQ(test::report_fingerprint(report), uninterrupted(plain));
  }
}

TEST(OtherWeights, AnotherModelOfTheSameShapeIsRefused) {
  Weights weights(1);
  if (world().is_coordinator()) {  // the headers stay
    const auto catalogue = checkpoint::read_checkpoint(weights.options().read.aligned, {});
    for (std::uint32_t k = 0; k < catalogue.shards.size(); ++k) {
      const auto& shard = catalogue.shards[k];
      auto bytes = test::read_whole(shard.path);
      for (const auto& [name, tensor] : catalogue.tensors) {
        for (std::uint64_t byte = 0; tensor.shard == k && byte < tensor.bytes; byte += 2)
          bytes[tensor.offset + byte] ^= 1;
      }
      std::ofstream(shard.path + ".new", std::ios::binary) << bytes;
      fs::rename(shard.path + ".new", shard.path);
    }
  }
  world().barrier();
  const auto error = error_of(weights.options());
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("tensor "));
}

TEST(OtherWeights, FilesThatWereTouchedOrCopiedGoOn) {
  const auto whole = uninterrupted(golden_options());
  for (const bool copied : {false, true}) {
    Weights weights(1);
    auto& options = weights.options();
    if (world().is_coordinator()) {
      for (const auto* checkpoint : {&options.read.base, &options.read.aligned}) {
        for (const auto& shard : checkpoint::read_checkpoint(*checkpoint, {}).shards) {
          if (!copied) {
            Weights::touch(shard.path);
            continue;
          }
          fs::copy_file(shard.path, shard.path + ".new");
          fs::rename(shard.path + ".new", shard.path);
        }
      }
    }
    world().barrier();
    std::string said;
    const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
    const auto report = pipeline::audit(options, world(), log).report;
    if (world().is_coordinator()) {
      EXPECT_EQ(test::report_fingerprint(report), whole);
      EXPECT_THAT(said, ::testing::HasSubstr("weights that have been scored are read again"));
    }
    // Of what was read again the journal knows the new state.
    options.seams.make_reader = []() -> std::unique_ptr<slab::Reader> { throw std::logic_error("weights are read"); };
    const auto again = pipeline::audit(options, world(), {}).report;
    if (world().is_coordinator()) {
      EXPECT_EQ(test::report_fingerprint(again), whole);
    }
  }
}

TEST(Resume, TeamsOfAnInterruptedRunGoOn) {
  auto options = golden_options();
  options.means.team = 2;
  const SharedDirectory directory;
  const auto whole = pipeline::audit(options, world(), {}).report;
  options.journal.directory = directory / "journal";
  on_ranks(world().size(), [&](auto& all) { fail_after(2, options, all); });
  options.journal.resume = true;
  const auto resumed = pipeline::audit(options, world(), {}).report;
  options.means.team = 0;  // whatever it would be by itself, that of the journal
  const auto again = pipeline::audit(options, world(), {}).report;
  if (!world().is_coordinator()) return;
  EXPECT_EQ(resumed.action, whole.action);
  EXPECT_EQ(test::report_fingerprint(resumed), test::report_fingerprint(again)) << "all of it from the journal";
  EXPECT_EQ(std::get<std::int64_t>(again.attributes.at("team")), std::min(2, world().size()));
}

TEST(Resume, OnRanksOfWhichTheTeamAskedForCannotBe) {
  auto options = golden_options();
  options.means.team = 3;
  for (const auto& [first, second] : {std::pair{1, world().size()}, std::pair{world().size(), 1}}) {
    const SharedDirectory directory;
    options.journal.directory = directory / "journal";
    options.journal.resume = false;
    on_ranks(first, [&](auto& part) { fail_after(2, options, part); });
    options.journal.resume = true;
    on_ranks(second, [&](auto& part) {
      const auto report = pipeline::audit(options, part, {}).report;
      if (!part.is_coordinator()) return;
      EXPECT_EQ(std::get<std::int64_t>(report.attributes.at("team")), std::min(3, second));
      EXPECT_GE(std::get<std::int64_t>(report.attributes.at("resumed_modules")), 2);
    });
  }
}

/// What a run says that was asked to stop.
std::string stopped(const run::AuditOptions& options) {
  try {
    pipeline::audit(options, world(), {});
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), 75) << error.what();
    return error.what();
  }
  return "done";
}

/// That a rank makes once it has finished `modules`.
void ask_to_stop(run::AuditOptions& options, std::shared_ptr<std::uint64_t> finished, std::uint64_t modules) {
  options.progress = [=](const run::Progress& progress) { *finished = progress.modules_done; };
  options.stop.requested = [=] { return *finished >= modules; };
}

TEST(Stop, WhicheverRankIsAsked) {
  auto options = golden_options();
  const auto whole = uninterrupted(options);
  for (int asked = 0; asked < world().size(); ++asked) {
    for (const int team : {1, 2}) {
      const SharedDirectory directory;
      auto stopping = options;
      stopping.means.team = team;
      stopping.journal.directory = directory / "journal";
      stopping.write.report = directory / "report.h5";
      const auto finished = std::make_shared<std::uint64_t>(0);
      ask_to_stop(stopping, finished, world().rank() == asked ? 2 : 1'000);
      const auto said = stopped(stopping);
      EXPECT_THAT(said,
                  ::testing::MatchesRegex("stopped at a signal after [0-9]+ of 35 modules; run again with --resume"));
      EXPECT_FALSE(std::filesystem::exists(stopping.write.report));
      stopping.journal.resume = true;
      stopping.stop.requested = {};
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
  options.journal.directory = directory / "journal";
  options.stop.requested = [] { return true; };
  EXPECT_THAT(stopped(options),
              ::testing::MatchesRegex(
                  "stopped at a signal while the adapters were opened(: rank [0-9])?; run again with --resume"));
  options.journal.resume = true;
  options.stop.requested = {};
  EXPECT_EQ(stopped(options), "done") << "no journal was begun";
}

TEST(Stop, BeforeTheFirstModule) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal.directory = directory / "journal";
  const auto opened = std::make_shared<std::atomic<bool>>(false);
  options.seams.make_reader = [=] {
    *opened = true;
    return slab::make_reader(slab::IoMode::buffered);
  };
  options.stop.requested = [=] { return opened->load(); };
  EXPECT_THAT(stopped(options), ::testing::StartsWith("stopped at a signal after 0 of 35"));
}

TEST(Stop, AModuleThatTakesTooLongIsGivenUp) {
  for (const int team : {1, 2}) {
    const SharedDirectory directory;
    auto options = golden_options();
    options.means.team = team;
    options.journal.directory = directory / "journal";
    options.stop.grace = std::chrono::milliseconds(0);
    // Asked when weights are read already: within the first module of the coordinator.
    const auto reading = std::make_shared<std::atomic<bool>>(false);
    options.seams.make_reader = [=] {
      *reading = true;
      return slab::make_reader(slab::IoMode::buffered);
    };
    options.stop.requested = [=] { return world().is_coordinator() && reading->load(); };
    const auto said = stopped(options);
    EXPECT_THAT(said, ::testing::StartsWith("stopped at a signal after "));
    options.journal.resume = true;
    options.stop.requested = {};
    const auto report = pipeline::audit(options, world(), {}).report;
    if (world().is_coordinator() && team == 1) {
      EXPECT_EQ(test::report_fingerprint(report), uninterrupted(golden_options()));
    }
  }
}

TEST(Stop, ARequestAfterTheLastModuleStopsNothing) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal.directory = directory / "journal";
  const auto finished = std::make_shared<bool>(false);
  options.progress = [=](const run::Progress& progress) { *finished = progress.modules_done == progress.modules; };
  // Of a single rank only: elsewhere others may still have modules to do.
  options.stop.requested = [=] { return world().size() == 1 && *finished; };
  EXPECT_EQ(stopped(options), "done");
}

TEST(Stop, AnErrorMeanwhileIsToldAndLeavesNothingBehind) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal.directory = directory / "journal";
  const auto asked = std::make_shared<std::atomic<bool>>(false);
  options.stop.requested = [=] { return asked->load(); };
  options.stop.grace = std::chrono::hours(1);
  options.seams.make_reader = [=]() -> std::unique_ptr<slab::Reader> {
    *asked = true;
    throw Error(ErrorKind::runtime, "cannot read").os_error(EIO);
  };
  const auto error = error_of(options);
  EXPECT_EQ(error.kind(), ErrorKind::runtime) << error.what();
  EXPECT_FALSE(world().notices().stop_requested());
}

/// Fails for one adapter, as storage does that is away for a while.
class WithoutAdapter final : public slab::Reader {
 public:
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override {
    if (path.find("adapter-001") != std::string::npos) {
      throw Error(ErrorKind::runtime, "cannot read file").os_error(ESTALE).file(path);
    }
    inner_->read(path, offset, destination, tensor);
  }

 private:
  std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
};

TEST(Resume, AnAdapterThatCouldNotBeReadIsAskedForAgain) {
  for (const int team : {1, 2}) {
    const SharedDirectory directory;
    auto options = golden_options();
    options.means.team = team;
    const auto whole = pipeline::audit(options, world(), {}).report;
    options.journal.directory = directory / "journal";
    const auto reader = options.seams.make_reader;
    options.seams.make_reader = [] { return std::make_unique<WithoutAdapter>(); };
    const auto without = pipeline::audit(options, world(), {}).report;
    options.seams.make_reader = reader;
    options.journal.resume = true;
    const auto resumed = pipeline::audit(options, world(), {}).report;
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(without.adapters[1].status, "quarantined");
    EXPECT_EQ(resumed.adapters[1].status, "ok") << resumed.adapters[1].reason;
    if (team == 1) {
      EXPECT_EQ(test::report_fingerprint(resumed), test::report_fingerprint(whole));
    }
  }
}

TEST(Resume, OneRefusalForAll) {
  const SharedDirectory directory;
  auto options = golden_options();
  options.journal.directory = directory / "journal";
  pipeline::audit(options, world(), {});
  options.journal.resume = true;
  options.measure.seed = 3;
  const auto error = error_of(options);
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("seed: 0 then, 3 now"));
}

}  // namespace
}  // namespace winnow
