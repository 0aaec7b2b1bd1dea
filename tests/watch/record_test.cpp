#include "winnow/watch/record.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::watch {
namespace {

using base::ErrorKind;
using test::expect_error;
using ::testing::HasSubstr;

Record sample(std::uint64_t step = 30) {
  Record record;
  record.place = {step, "checkpoint-" + std::to_string(step)};
  record.run = "/runs/a \"run\"\n";
  record.time = "2026-01-02T03:04:05Z";
  record.content = "c0";
  record.compared = "c1";
  record.score_name = "bank_deviation";
  record.score = 0.1 + 0.2;  // all bits come back
  record.p = 1.0 / 3;
  record.verdict = "pass";
  record.reason = "not unusual";
  record.threshold = 3;
  record.slope = -0.25;
  return record;
}

TEST(Record, ComesBackAsItWas) {
  const auto line = to_line(sample());
  EXPECT_EQ(line.find('\n'), line.size() - 1) << "one line, whatever is in the names";
  const auto back = from_line(line);
  ASSERT_TRUE(back);
  EXPECT_EQ(to_line(*back), line);
  EXPECT_EQ(back->score, 0.1 + 0.2);
  EXPECT_EQ(back->p, 1.0 / 3);
  EXPECT_EQ(back->run, sample().run);
  EXPECT_TRUE(std::isnan(back->reaches));
  const auto json = nlohmann::json::parse(line);
  EXPECT_TRUE(json["reaches"].is_null());
  EXPECT_EQ(json["step"], 30);
}

TEST(Record, OfWhatHasNoScore) {
  Record record = sample();
  record.score = record.p = Record::kUnknown;
  record.verdict.clear();
  const auto back = from_line(to_line(record));
  ASSERT_TRUE(back);
  EXPECT_TRUE(std::isnan(back->score));
  EXPECT_TRUE(back->verdict.empty());
}

TEST(Record, WhatIsNone) {
  for (const auto* line : {"", "{}", "[]", "null", "{\"winnow_watch\": 2}", "{\"winnow_watch\": 1}", "{", "1e999"}) {
    EXPECT_FALSE(from_line(line)) << line;
  }
  auto json = nlohmann::json::parse(to_line(sample()));
  json["score"] = "high";
  EXPECT_FALSE(from_line(json.dump()));
  json = nlohmann::json::parse(to_line(sample()));
  json["step"] = nullptr;
  EXPECT_FALSE(from_line(json.dump()));
}

class RecordFiles : public ::testing::Test {
 protected:
  std::vector<std::string> warnings;
  base::Log log{[this](base::LogLevel, std::string_view text) { warnings.emplace_back(text); }};
  test::TemporaryDirectory directory;
  std::string path = directory / "log.jsonl";
};

TEST_F(RecordFiles, AppendAndRemember) {
  RecordFile(path, log).append(sample(10));
  auto again = sample(10);
  again.content = "c2";
  RecordFile(path, log).append(again);
  auto other = sample(20);
  other.compared = "with other probes";
  RecordFile(path, log).append(other);
  const RecordFile file(path, log);
  const auto found = file.records(sample().run, "c1");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.begin()->second.content, "c2") << "the last one";
  EXPECT_TRUE(file.records("another run", "c1").empty());
  EXPECT_TRUE(warnings.empty());
}

TEST_F(RecordFiles, ALineThatWasCutShortStaysAndTheNextIsWhole) {
  const auto line = to_line(sample(10));
  directory.write("log.jsonl", line + line.substr(0, 40));
  RecordFile(path, log).append(sample(20));
  EXPECT_EQ(test::read_whole(path), line + line.substr(0, 40) + "\n" + to_line(sample(20)));
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_THAT(warnings[0], HasSubstr("1 of the lines of the log are not whole"));
  EXPECT_EQ(RecordFile(path, log).records(sample().run, "c1").size(), 2U);
}

TEST_F(RecordFiles, RefuseWhatIsNoLog) {
  directory.write("log.jsonl", "\x89HDF\r\n");
  const auto open = [&] { RecordFile(path, log); };
  expect_error(ErrorKind::usage, HasSubstr("the file is no log of winnow watch"), open);
  EXPECT_EQ(test::read_whole(path), "\x89HDF\r\n");
  path = directory.path();
  expect_error(ErrorKind::usage, HasSubstr("the log is no plain file"), open);
  path = directory / "absent/log.jsonl";
  expect_error(ErrorKind::runtime, HasSubstr("cannot append to the log"), open);
}

TEST_F(RecordFiles, WithoutAPathNothingIsWritten) {
  const RecordFile file("", log);
  file.append(sample());
  EXPECT_TRUE(file.records(sample().run, "c1").empty());
  EXPECT_TRUE(directory.is_empty());
}

}  // namespace
}  // namespace winnow::watch
