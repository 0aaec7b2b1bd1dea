// A training run played step by step: the wait between two looks is where the next thing happens. No clock.
#include "winnow/watch/watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "input/probe_family.hpp"
#include "judge/probe_bank.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::watch {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using test::expect_error;
using test::ProbeFamily;
using test::Tensors;
using test::TinyFamily;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Watching : public ::testing::Test {
 protected:
  Watching() {
    options.run = family.directory / "run";
    options.audit = family.probe_options(false);
    options.program = "test";
    harmful = family.probe_adapters[0];  // its cosine with the harmful probe is 0.96
    unsigned seed = 900;
    for (auto& [name, matrix] : harmful) {
      const auto noise = test::Matrix::random(matrix.rows, matrix.columns, seed++);
      for (std::size_t k = 0; k < matrix.values.size(); ++k) matrix.values[k] += 0.2F * noise.values[k];
    }
    bank = family.directory / "bank.h5";
    report::write_hdf5(test::bank_of(pipeline::audit(options.audit, *comm::make_self(), {}).report, 40, 0.01, 20),
                       bank);
    options.audit.judge.bank = bank;
    options.audit.judge.policy = select::parse_policy("none");
  }

  void save(int step, const Tensors& tensors, bool finished = true) const {
    const auto name = "run/checkpoint-" + std::to_string(step);
    family.write_adapter(name, tensors);
    if (finished) family.directory.write(name + "/trainer_state.json", "{}");
  }
  std::string file(int step, const std::string& name) const {
    return family.directory / ("run/checkpoint-" + std::to_string(step) + "/" + name);
  }

  /// Looks as long as there are `waits`, one of which is made after each look; then it is told to stop.
  Outcome run(std::vector<std::function<void()>> waits = {}) {
    said.clear();
    records.clear();
    warnings.clear();
    std::size_t next = 0;
    const Surroundings surroundings{
        [&](const std::string& text) { begun = text; },
        [&](const Record& record, bool from_log) {
          records.push_back(record);
          said.push_back(record.place.name + " " + record.verdict + (from_log ? " known" : ""));
        },
        [&](std::chrono::milliseconds) {
          if (next == waits.size()) return true;
          waits[next++]();
          return false;
        },
        [] { return std::string("now"); }};
    const base::Log log([&](base::LogLevel, std::string_view text) { warnings.emplace_back(text); });
    const auto world = comm::make_self();
    const auto outcome = watch(options, *world, log, surroundings);
    EXPECT_EQ(next, waits.size()) << "it ended early";
    return outcome;
  }

  report::Report audited(int step) const {
    auto alone = options.audit;
    alone.read.adapters = {family.directory / ("run/checkpoint-" + std::to_string(step))};
    return pipeline::audit(alone, *comm::make_self(), {}).report;
  }

  ProbeFamily family;
  Tensors harmful;
  std::string bank, begun;
  WatchOptions options;
  std::vector<std::string> said, warnings;
  std::vector<Record> records;
};

TEST_F(Watching, SaysOfEachCheckpointWhatAnAuditOfItSays) {
  save(10, family.zoo[0]);
  save(9, family.zoo[1]);
  save(20, harmful);
  const auto outcome = run();
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.judged, 3U);
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].place.step, 9U);
  EXPECT_EQ(records[2].verdict, "block");
  for (const auto& record : records) {
    const auto report = audited(static_cast<int>(record.place.step));
    EXPECT_EQ(record.score, report::adapter_scores(report).values[0]) << "bit for bit";
    EXPECT_EQ(record.p, report.find_of_adapters("bank_p")->values[0]);
    EXPECT_EQ(record.verdict, verdict::name(report.verdicts[0].verdict));
    EXPECT_EQ(record.reason, report.verdicts[0].reason);
    EXPECT_EQ(record.score_name, "bank_deviation");
    EXPECT_EQ(record.is_above, record.verdict == "block") << record.score << " of " << record.threshold;
  }
}

TEST_F(Watching, TheScoreWithoutABank) {
  options.audit.judge.bank.clear();
  options.threshold = 0.5;
  save(10, family.zoo[0]);
  save(20, family.probe_adapters[1]);
  save(30, harmful);
  const auto outcome = run();
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].score_name, "probe_pull");
  for (const auto& record : records) {
    EXPECT_EQ(record.score, report::adapter_scores(audited(static_cast<int>(record.place.step))).values[0]);
    EXPECT_EQ(record.is_above, record.score > 0.5);
    EXPECT_EQ(is_finding(record, true), record.is_above);
    EXPECT_EQ(record.verdict, "");
  }
  EXPECT_EQ(outcome.findings, static_cast<std::size_t>(std::count_if(records.begin(), records.end(),
                                                                     [](const auto& one) { return one.is_above; })));
}

TEST_F(Watching, AThresholdOfOnesOwnReplacesThatOfTheBank) {
  save(10, family.zoo[0]);
  save(20, harmful);
  run();
  ASSERT_EQ(records.size(), 2U);
  const double low = records[0].score, high = records[1].score;
  ASSERT_LT(low, records[0].threshold);
  options.threshold = high;  // not above it
  EXPECT_EQ(run().findings, 0U);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 block")) << "verdicts are the bank's";
  options.threshold = low - 1;
  EXPECT_EQ(run().findings, 2U);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("checkpoint-10: above the threshold: bank_p"),
                                    HasSubstr("checkpoint-20: block: bank_p")));
  EXPECT_THAT(begun, HasSubstr("a bank of 40; above"));
}

TEST_F(Watching, NeverWhatIsBeingWritten) {
  const auto weights = file(10, "adapter_model.safetensors"), whole = weights + ".whole";
  run({[&] {
         save(10, harmful, false);
         fs::rename(weights, whole);
         fs::remove(file(10, "adapter_config.json"));
       },
       [&] {
         fs::copy_file(whole, weights);
         fs::resize_file(weights, 100);
       },
       [&] { fs::resize_file(weights, fs::file_size(whole)); },  // its length, not yet its bytes
       [&] {
         fs::remove(weights);
         fs::copy_file(whole, weights);
       },
       [&] {
         EXPECT_THAT(said, IsEmpty());
         EXPECT_THAT(warnings, IsEmpty());
       },
       [&] { family.write_adapter("run/checkpoint-10", harmful); },
       [&] {
         EXPECT_THAT(said, IsEmpty());
         family.directory.write("run/checkpoint-10/trainer_state.json", "{}");
       },
       [&] { EXPECT_THAT(said, ElementsAre("checkpoint-10 block")); }});
  EXPECT_EQ(said.size(), 1U);
}

TEST_F(Watching, ARunThatIsNotThereYetIsWaitedFor) {
  const auto outcome = run({[] {}, [&] { fs::create_directories(options.run); }, [&] { save(5, family.zoo[0]); }});
  EXPECT_THAT(said, ElementsAre("checkpoint-5 pass"));
  EXPECT_EQ(outcome.judged, 1U);
}

TEST_F(Watching, RemovedBeforeAndWhileItIsRead) {
  save(10, family.zoo[0]);
  save(20, family.zoo[1]);
  bool removed = false;
  options.audit.stop.requested = [&] {  // asked while the adapter is opened
    if (!removed) fs::remove_all(family.directory / "run/checkpoint-10");
    removed = true;
    return false;
  };
  run({[&] { save(30, family.zoo[2], false); }, [&] { fs::remove_all(family.directory / "run/checkpoint-30"); }});
  EXPECT_THAT(said, ElementsAre("checkpoint-20 pass"));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("checkpoint-10 was removed while it was read"),
                                    HasSubstr("checkpoint-30 was removed before it was judged")));
}

TEST_F(Watching, WrittenToWhileItIsReadItIsReadAgain) {
  save(10, family.zoo[0]);
  bool written = false;
  options.audit.stop.requested = [&] {
    if (!written) save(10, harmful);
    written = true;
    return false;
  };
  run({[] {}, [] {}});
  EXPECT_THAT(said, ElementsAre("checkpoint-10 block"));
  ASSERT_FALSE(warnings.empty());
  EXPECT_THAT(warnings.front(), HasSubstr("checkpoint-10 was written to while it was read"));
}

TEST_F(Watching, ARestartedRunIsJudgedAgainWhereItDiffers) {
  save(10, family.zoo[0]);
  save(20, family.zoo[1]);
  run({[&] {
         save(10, harmful);
         save(20, family.zoo[1]);
       },
       [] {}});
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 pass", "checkpoint-10 block"));
}

TEST_F(Watching, EndsAtAFinding) {
  options.stop_at_finding = true;
  save(10, family.zoo[0]);
  auto outcome = run({[&] {
    save(20, harmful);
    save(30, family.zoo[0]);
  }});
  EXPECT_FALSE(outcome.stopped);
  EXPECT_EQ(outcome.findings, 1U);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 block"));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("checkpoint-20: block: bank_p")));
}

TEST_F(Watching, TheLogIsNotJudgedAgainUnlessSomethingDiffers) {
  options.log = family.directory / "log.jsonl";
  save(10, family.zoo[0]);
  save(20, harmful);
  run();
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 block"));
  const auto text = test::read_whole(options.log);
  options.stop_at_finding = true;
  EXPECT_EQ(run().findings, 1U) << "a restarted watch must not pass over it";
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass known", "checkpoint-20 block known"));
  EXPECT_EQ(test::read_whole(options.log), text) << "no line twice";
  options.stop_at_finding = false;
  save(10, family.zoo[1]);
  run();
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 block known"));
  options.audit.judge.false_discovery_rate = 0.1;
  run();
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 block"));
  options.audit.read.probes.pop_back();
  run();
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 block"));
}

// Whoever starts a watch again has seen what ended the last one.
TEST_F(Watching, AFindingOfAnEarlierWatchEndsTheNextIfNothingNewerIsThere) {
  options.log = family.directory / "log.jsonl";
  options.stop_at_finding = true;
  save(10, family.zoo[0]);
  save(20, harmful);
  EXPECT_TRUE(run().at_finding);
  auto outcome = run();
  EXPECT_TRUE(outcome.at_finding) << "nothing has changed";
  EXPECT_THAT(warnings,
              ElementsAre(HasSubstr("checkpoint-20: block"),
                          HasSubstr("checkpoint-20 was found by an earlier watch, and nothing newer is there")));
  // The training has gone on; what no Trainer has finished takes a second look.
  save(30, family.zoo[1], false);
  outcome = run({[] {}});
  EXPECT_TRUE(outcome.stopped);
  EXPECT_FALSE(outcome.at_finding);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass known", "checkpoint-20 block known", "checkpoint-30 pass"));
  EXPECT_EQ(outcome.findings, 1U) << "it is counted all the same";
  save(30, family.zoo[1]);
  options.once = true;
  EXPECT_FALSE(run().at_finding);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass known", "checkpoint-20 block known", "checkpoint-30 pass known"));
  options.once = false;
  // A new finding ends it at once, whatever comes after.
  save(40, harmful);
  save(50, family.zoo[0]);
  EXPECT_TRUE(run().at_finding);
  EXPECT_EQ(said.back(), "checkpoint-40 block");
  EXPECT_FALSE(run().at_finding) << "50 is newer";
  // The checkpoint that was found is gone, and the run begins again before it.
  fs::remove_all(family.directory / "run/checkpoint-50");
  EXPECT_TRUE(run().at_finding) << "the log's 50 is there no more";
  fs::remove_all(family.directory / "run/checkpoint-40");
  EXPECT_FALSE(run().at_finding);
  // Nothing newer of this adapter, though of another.
  for (const char* name : {"one", "other"}) {
    const auto place = std::string("run/checkpoint-60/") + name;
    family.write_adapter(place, *name == 'o' && name[1] == 'n' ? harmful : family.zoo[0]);
  }
  family.directory.write("run/checkpoint-60/trainer_state.json", "{}");
  EXPECT_TRUE(run().at_finding);
  family.write_adapter("run/checkpoint-70/other", family.zoo[1]);
  family.directory.write("run/checkpoint-70/trainer_state.json", "{}");
  EXPECT_TRUE(run().at_finding) << "one was not saved again";
  family.write_adapter("run/checkpoint-80/one", family.zoo[2]);
  family.directory.write("run/checkpoint-80/trainer_state.json", "{}");
  EXPECT_FALSE(run().at_finding);
}

TEST_F(Watching, TheConfigurationIsContentToo) {
  options.log = family.directory / "log.jsonl";
  save(10, family.zoo[0]);
  run();
  const auto before = records[0].score;
  family.directory.write("run/checkpoint-10/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4000, "target_modules": ["up_proj"]})");
  family.directory.write("run/checkpoint-10/trainer_state.json", "{}");
  run();
  EXPECT_THAT(said, ElementsAre("checkpoint-10 block"));
  EXPECT_NE(records[0].score, before);
}

/// Ordinary factors that come closer to the harmful ones: (1 - share) of one update, share of the other.
Tensors between(const Tensors& one, const Tensors& other, float share) {
  Tensors mixed = one;
  for (auto& [name, matrix] : mixed) {
    for (std::size_t k = 0; k < matrix.values.size(); ++k) {
      matrix.values[k] += share * (other.at(name).values[k] - matrix.values[k]);
    }
  }
  return mixed;
}

TEST_F(Watching, WarnsOfScoresThatAreHeadingForTheThreshold) {
  options.audit.judge.bank.clear();
  options.threshold = 10;  // no pull is as large
  for (int k = 0; k < 10; ++k) save(k + 1, between(family.zoo[0], harmful, 0.03F * static_cast<float>(k)));
  run();
  ASSERT_EQ(records.size(), 10U);
  for (std::size_t k = 1; k < records.size(); ++k) ASSERT_GT(records[k].score, records[k - 1].score);
  EXPECT_THAT(warnings, IsEmpty());
  options.threshold = records[8].score;
  options.stop_at_finding = options.stop_at_trend = true;
  const auto outcome = run();
  ASSERT_FALSE(records.empty());
  EXPECT_TRUE(records.back().is_heading);
  EXPECT_FALSE(records.back().is_above);
  EXPECT_GE(records.size(), 4U) << "of fewer the test says nothing";
  EXPECT_LE(records.size(), 8U);
  EXPECT_GT(records.back().reaches, static_cast<double>(records.back().place.step));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("probe_pull is rising")));
  EXPECT_EQ(outcome.findings, 1U);
}

TEST_F(Watching, WhatCannotBeScoredIsNoPass) {
  auto broken = family.zoo[0];
  broken.begin()->second.values[0] = std::nanf("");
  save(10, family.zoo[0]);
  save(20, broken);
  options.stop_at_finding = true;
  EXPECT_EQ(run().findings, 1U);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 incomplete"));
  options.audit.judge.bank.clear();
  options.threshold = 10;
  EXPECT_EQ(run().findings, 1U);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 ", "checkpoint-20 incomplete"));
}

TEST_F(Watching, RefusesAsAnAuditDoes) {
  const auto refused = [&](ErrorKind kind, const std::string& text) {
    expect_error(kind, HasSubstr(text), [&] { run(); });
  };
  const auto sound = options;
  save(10, family.zoo[0]);
  options.audit.read.probes[2].path = family.directory / "absent";
  refused(ErrorKind::invalid_input, "a probe cannot be used");
  options = sound;
  options.audit.read.probes[2].path = family.write_adapter("another", TinyFamily::adapter(77));
  refused(ErrorKind::invalid_input, "the bank was not compared with one of the probes");

  // Probes of another model: the first checkpoint tells.
  Tensors foreign;
  for (const auto& [name, matrix] : harmful) foreign["base_model.model.other." + name.substr(17)] = matrix;
  options = sound;
  options.audit.judge.bank.clear();
  options.audit.read.probes = {
      {probes::Effect::harmful, probes::Form::adapter, family.write_adapter("foreign", foreign)}};
  refused(ErrorKind::invalid_input, "no adapter could be scored");
}

TEST_F(Watching, ABankThatCanBlockNothingIsToldOfOnce) {
  options.audit.judge.false_discovery_rate = 0.001;
  options.audit.judge.tells_of_small_bank = true;
  options.stop_at_finding = true;
  save(10, family.zoo[0]);
  save(20, family.zoo[1]);
  EXPECT_EQ(run().findings, 0U);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("a bank of 40 can block nothing at 0.1 %")));
  save(30, family.probe_adapters[0]);  // the harmful probe itself
  EXPECT_EQ(run().findings, 1U);
  EXPECT_THAT(said.back(), "checkpoint-30 block");
}

TEST_F(Watching, OnceJudgesWhatIsThere) {
  options.once = true;
  expect_error(ErrorKind::invalid_input, HasSubstr("no such run"), [&] { run(); });
  fs::create_directories(options.run);
  expect_error(ErrorKind::invalid_input, HasSubstr("no complete checkpoint"), [&] { run(); });
  const auto whole = options.run;
  options.run = family.directory / "run/checkpoint-5/";
  fs::create_directories(options.run);
  expect_error(ErrorKind::invalid_input, HasSubstr("; give the directory above it"), [&] { run(); });
  fs::remove_all(options.run);
  options.run = whole;
  save(10, family.zoo[0], false);  // of no Trainer: a second look tells that nothing writes to it
  save(20, family.zoo[0]);
  save(30, family.zoo[0]);
  fs::resize_file(file(30, "adapter_model.safetensors"), 10);
  const auto outcome = run({[] {}});
  EXPECT_FALSE(outcome.stopped);
  EXPECT_THAT(said, ElementsAre("checkpoint-20 pass", "checkpoint-10 pass"));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("checkpoint-30 is not complete, and not judged: "
                                              "adapter_model.safetensors is not whole")));
}

TEST_F(Watching, EndsWithAFileAndWithIdleness) {
  options.until_file = family.directory / "done";
  auto outcome = run({[&] {
    save(10, family.zoo[0]);
    family.directory.write("done", "");
  }});
  EXPECT_FALSE(outcome.stopped);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass")) << "what came before the file is judged";
  options.until_file.clear();
  options.interval = std::chrono::seconds(1);
  options.until_idle = std::chrono::seconds(3);
  outcome = run({[&] { save(20, family.zoo[1]); }, [] {}, [] {}, [] {}});
  EXPECT_FALSE(outcome.stopped);
  EXPECT_THAT(said, ElementsAre("checkpoint-10 pass", "checkpoint-20 pass"));
}

TEST_F(Watching, AProbeThatChangesMeanwhileEndsIt) {
  save(10, family.zoo[0]);
  expect_error(ErrorKind::runtime, HasSubstr("file was changed while it was read"), [&] {
    run({[&] {
      family.write_adapter("probe-0", TinyFamily::adapter(99));
      save(20, family.zoo[0]);
    }});
  });
}

}  // namespace
}  // namespace winnow::watch
