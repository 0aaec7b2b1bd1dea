// Audits with a cache on any number of ranks: the report of a run that computed everything, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>

#include "compute/built_backend.hpp"
#include "mpi/golden_audit.hpp"
#include "mpi/report_fingerprint.hpp"
#include "mpi/shared_directory.hpp"
#include "winnow/cache/score_pack.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using test::error_of;
using test::report_fingerprint;
using test::SharedDirectory;
using test::world;
using ::testing::HasSubstr;

std::vector<std::string> golden_adapters() {
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(test::kGolden + "/adapters")) found.insert(entry.path().string());
  return {found.begin(), found.end()};
}

std::string alone(run::AuditOptions options) {
  options.journal.cache.clear();
  return report_fingerprint(pipeline::audit(options, *comm::make_self(), {}).report);
}

std::int64_t cached(const report::Report& report) {
  return std::get<std::int64_t>(report.attributes.at("cached_layers"));
}

std::unique_ptr<slab::Reader> no_reader() { throw std::logic_error("weights are read"); }

/// A copy of the golden model and zoo, to be changed, with a cache.
class Night {
 public:
  Night() {
    if (world().is_coordinator()) fs::copy(test::kGolden, directory_ / "golden", fs::copy_options::recursive);
    world().barrier();
    options.read.base = directory_ / "golden/base";
    options.read.aligned = directory_ / "golden/aligned";
    options.read.zoo = directory_ / "golden/adapters";
    options.means.backend = compute::Backend::cpu;
    options.means.threads = 1;
    options.journal.cache = directory_ / "cache";
  }

  report::Report run(const base::Log& log = {}) const {
    auto report = pipeline::audit(options, world(), log).report;
    world().barrier();
    return report;
  }

  /// On the coordinator alone; the others wait.
  template <class Change>
  static void change(const Change& change) {
    world().barrier();
    if (world().is_coordinator()) change();
    world().barrier();
  }

  std::string operator/(const std::string& name) const { return directory_ / name; }

  /// The one pack there is.
  std::string pack() const {
    std::vector<std::string> packs;
    for (const auto& settings : fs::directory_iterator(options.journal.cache)) {
      for (const auto& path : cache::find_packs(settings.path().string())) packs.push_back(path);
    }
    EXPECT_EQ(packs.size(), 1U);
    return packs.at(0);
  }

  /// A shard of the aligned checkpoint that holds a weight of the first adapter, and a byte of that.
  std::pair<std::string, std::streamoff> weight() const {
    const auto catalogue = checkpoint::read_checkpoint(options.read.aligned, {});
    const auto* tensor = catalogue.find("model.layers.0.self_attn.q_proj.weight");
    return {catalogue.shards.at(tensor->shard).path, static_cast<std::streamoff>(tensor->offset + 8)};
  }
  static void flip(const std::string& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  }
  static void touch(const std::string& file) {  // clocks of file systems are coarse
    fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(10));
  }

  run::AuditOptions options;

 private:
  SharedDirectory directory_;
};

TEST(Cache, ASecondNightComputesWhatIsNewAndAThirdReadsNothing) {
  for (const auto backend : test::built_backends()) {
    for (const bool pair : {true, false}) {
      for (const bool probe : {false, true}) {
        if (!pair && !probe && backend != compute::Backend::cpu) continue;
        SCOPED_TRACE(testing::Message() << compute::name(backend) << pair << probe);
        const SharedDirectory directory;
        auto options = test::golden_options(backend);
        options.read.zoo.clear();
        options.read.adapters = golden_adapters();
        ASSERT_GE(options.read.adapters.size(), 2U);
        if (!pair) options.read.base.clear();
        if (!pair && probe) options.read.aligned.clear();
        if (pair) options.measure.sums = methods::parse_sums("all"), options.measure.element_statistics = true;
        if (probe) options.read.probes = {{probes::Effect::harmful, probes::Form::adapter, options.read.adapters[0]}};
        options.judge.policy = select::parse_policy("none");
        options.journal.cache = directory / "deep/cache";
        auto uncached = options;
        uncached.journal.cache.clear();
        const auto whole = pipeline::audit(uncached, *comm::make_self(), {}).report;
        auto first = options;
        first.read.adapters.pop_back();
        const auto none = pipeline::audit(first, world(), {}).report;
        const auto second = pipeline::audit(options, world(), {}).report;
        options.seams.make_reader = no_reader;
        options.seams.make_copying_reader = no_reader;
        std::uint64_t modules = 0;
        options.progress = [&](const run::Progress& progress) { modules += progress.modules; };
        const auto third = pipeline::audit(options, world(), {}).report;
        EXPECT_EQ(modules, 0U);
        if (!world().is_coordinator()) continue;
        EXPECT_EQ(cached(none), 0);
        EXPECT_GT(cached(second), 0);
        EXPECT_LT(cached(second), cached(third));
        EXPECT_EQ(report_fingerprint(third), report_fingerprint(second));
        if (backend != compute::Backend::torch) {
          EXPECT_EQ(report_fingerprint(second), report_fingerprint(whole));
        } else {  // libtorch rounds otherwise if fewer columns are stacked
          test::expect_metrics(second, whole, {"update_norm"}, 1e-6);
          if (pair) test::expect_metrics(second, whole, {"ediem", "alignment_cosine"}, 1e-4);
        }
      }
    }
  }
}

TEST(Cache, OneBitOfAWeightCountsAndATouchedFileIsReadAgain) {
  Night night;
  const auto before = alone(night.options);
  night.run();
  std::string said;
  const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
  Night::change([&] { Night::touch(night.weight().first); });
  const auto touched = night.run(log);
  auto unread = night.options;
  unread.seams.make_reader = no_reader;
  const auto again = pipeline::audit(unread, world(), {}).report;  // the new state is known
  Night::change([&] {
    const auto [file, byte] = night.weight();
    Night::flip(file, byte);
    Night::touch(file);
  });
  const auto changed = night.run();
  if (!world().is_coordinator()) return;
  EXPECT_THAT(said, HasSubstr("weights are read again"));
  EXPECT_EQ(report_fingerprint(touched), before);
  EXPECT_EQ(report_fingerprint(again), before);
  EXPECT_EQ(cached(touched), cached(again));
  EXPECT_GT(cached(changed), 0) << "the weights of other modules did not change";
  EXPECT_LT(cached(changed), cached(again));
  EXPECT_EQ(report_fingerprint(changed), alone(night.options));
  EXPECT_NE(report_fingerprint(changed), before);
}

TEST(Cache, WeightsThatComeBackAreKnownAgain) {
  Night night;
  night.run();
  const auto [file, byte] = night.weight();
  for (int turn = 0; turn < 2; ++turn) {
    Night::change([&, &file = file, &byte = byte] {
      Night::flip(file, byte);
      Night::touch(file);
    });
    const auto report = night.run();
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(report_fingerprint(report), alone(night.options));
    EXPECT_GT(cached(report), 0);
  }
}

TEST(Cache, WeightsThatChangedInSecretAreNamed) {
  Night night;
  auto all = golden_adapters();
  night.options.read.zoo.clear();
  night.options.read.adapters = {all.at(0)};
  night.run();
  const auto [file, byte] = night.weight();
  Night::change([&, &file = file, &byte = byte] {
    const auto time = fs::last_write_time(file);
    Night::flip(file, byte);
    fs::last_write_time(file, time);
  });
  night.options.read.adapters = all;
  const auto error = error_of(night.options);
  EXPECT_EQ(error.kind(), ErrorKind::runtime);
  EXPECT_THAT(error.what(), HasSubstr("the cache saw other weights in this file, which looks the same: " + file));
  EXPECT_THAT(error.what(), HasSubstr("tensor model.layers.0.self_attn.q_proj.weight"));
}

TEST(Cache, AnotherScaleIsAnotherAdapter) {
  Night night;
  night.run();
  Night::change([&] {
    const auto path = (*fs::directory_iterator(night.options.read.zoo)).path() / "adapter_config.json";
    auto text = test::read_whole(path.string());
    const std::string alpha = "\"lora_alpha\": ";
    ASSERT_NE(text.find(alpha), std::string::npos);
    text.insert(text.find(alpha) + alpha.size(), "1");
    std::ofstream(path, std::ios::binary) << text;
  });
  const auto report = night.run();
  if (!world().is_coordinator()) return;
  EXPECT_EQ(report_fingerprint(report), alone(night.options));
}

TEST(Cache, OtherOptionsKnowNothingOfIt) {
  Night night;
  night.run();
  for (const bool seed : {true, false}) {
    auto other = night.options;
    if (seed) other.measure.seed = 1;
    if (!seed) other.read.adapter.unit_scale = true;
    const auto report = pipeline::audit(other, world(), {}).report;
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(cached(report), 0);
    EXPECT_EQ(report_fingerprint(report), alone(other));
  }
}

TEST(Cache, DamagedPacksAreComputedAgain) {
  for (const int damage : {0, 1, 2, 3}) {
    SCOPED_TRACE(damage);
    Night night;
    night.run();
    Night::change([&] {
      const auto pack = night.pack();
      const auto size = fs::file_size(pack);
      if (damage == 0) fs::resize_file(pack, size / 2);
      if (damage == 1) fs::resize_file(pack, 0);
      if (damage == 2) Night::flip(pack, 200);
      if (damage == 3) Night::flip(pack, static_cast<std::streamoff>(size) - 9);
    });
    const auto report = night.run();
    const auto again = night.run();
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(report_fingerprint(report), alone(night.options));
    EXPECT_EQ(report_fingerprint(again), alone(night.options));
    EXPECT_LT(cached(report), cached(again));
  }
}

TEST(Cache, FillsWhileAnInterruptedRunIsResumed) {
  for (const bool filled : {true, false}) {
    Night night;
    auto options = night.options;
    options.read.zoo.clear();
    options.read.adapters = golden_adapters();
    auto part = options;
    part.read.adapters.pop_back();
    pipeline::audit(part, world(), {});
    options.journal.directory = night / "journal";
    auto failing = options;
    failing.progress = [&](const run::Progress& progress) {
      if (world().rank() == world().size() - 1 && progress.modules_done > 0)
        throw Error(ErrorKind::runtime, "on purpose");
    };
    EXPECT_THROW(pipeline::audit(failing, world(), {}), Error);
    options.journal.resume = true;
    auto other = options;
    other.journal.directory.clear();
    other.journal.resume = false;
    if (filled) pipeline::audit(other, world(), {});
    if (!filled) Night::change([&] { fs::remove_all(options.journal.cache); });
    const auto report = pipeline::audit(options, world(), {}).report;
    if (!world().is_coordinator()) continue;
    EXPECT_EQ(report_fingerprint(report), alone(other));
  }
}

TEST(Cache, AnAdapterThatChangedDuringTheRunIsNotNoted) {
  Night night;
  const auto victim = (*fs::directory_iterator(night.options.read.zoo)).path() / "adapter_model.safetensors";
  auto options = night.options;
  options.progress = [&](const run::Progress& progress) {
    if (world().is_coordinator() && progress.modules_done == 1) Night::touch(victim.string());
  };
  const auto report = pipeline::audit(options, world(), {}).report;
  world().barrier();
  const auto next = night.run();
  if (!world().is_coordinator()) return;
  const auto layers = std::count(next.present.begin(), next.present.end(), std::uint8_t{1});
  EXPECT_GT(cached(next), 0);
  EXPECT_LT(cached(next), layers);
  EXPECT_EQ(report_fingerprint(next), alone(night.options));
}

TEST(Cache, ThatCannotBeWrittenCostsNoReport) {
  Night night;
  auto options = night.options;
  options.write.report = night / "report.h5";
  options.progress = [&](const run::Progress& progress) {
    if (world().is_coordinator() && progress.modules_done == 1) {
      fs::remove_all(options.journal.cache);
      std::ofstream(options.journal.cache) << "a file";
    }
  };
  std::string said;
  const base::Log log([&](base::LogLevel level, std::string_view text) {
    if (level == base::LogLevel::warning) said += text;
  });
  pipeline::audit(options, world(), log);
  world().barrier();
  EXPECT_TRUE(fs::exists(options.write.report));
  if (world().is_coordinator()) {
    EXPECT_THAT(said, HasSubstr("nothing is noted in the cache"));
  }
  const auto error = error_of(options);  // now it is a file
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(error.what(), HasSubstr("--cache is or is below what is not a directory: " + options.journal.cache));
}

}  // namespace
}  // namespace winnow
