#include "winnow/watch/listing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "input/tiny_family.hpp"

namespace winnow::watch {
namespace {

namespace fs = std::filesystem;
using test::TinyFamily;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Looks : public ::testing::Test {
 protected:
  std::vector<std::string> names() {
    std::vector<std::string> all;
    const auto listing = run.look({}).value();
    for (const auto& [place, seen] : listing) all.push_back(place.name);
    return all;
  }
  Seen only() {
    const auto listing = run.look({}).value();
    EXPECT_EQ(listing.size(), 1U);
    return listing.begin()->second;
  }

  TinyFamily family;
  Directory run{family.directory / "run"};
};

TEST_F(Looks, ThereNeedNotBeARun) {
  EXPECT_FALSE(run.look({}));
  fs::create_directories(run.path());
  EXPECT_EQ(run.look({})->size(), 0U);
}

TEST_F(Looks, AFileIsNoRun) {
  family.directory.write("run", "");
  test::expect_error(base::ErrorKind::usage, HasSubstr("the run to watch is not a directory"), [&] { run.look({}); });
}

TEST_F(Looks, OnlyAtCheckpointsAndInOrderOfSteps) {
  for (const auto* name : {"run/checkpoint-100", "run/checkpoint-20", "run/tmp-checkpoint-30", "run/checkpoint-last",
                           "run/checkpoint-", "run/runs", "run/checkpoint-40/one", "run/checkpoint-40/two"}) {
    family.write_adapter(name, TinyFamily::adapter(1));
  }
  family.write_adapter("run", TinyFamily::adapter(1));  // as a training run leaves it at its end
  family.directory.write("run/checkpoint-50", "a file");
  family.write_adapter("elsewhere", TinyFamily::adapter(1));
  fs::create_directory_symlink(family.directory / "elsewhere", family.directory / "run/checkpoint-60");
  fs::create_directory_symlink(family.directory / "run", family.directory / "run/checkpoint-40/loop");
  fs::create_directory_symlink("nowhere", family.directory / "run/checkpoint-70");
  const auto found = names();
  EXPECT_THAT(std::vector(found.begin(), found.begin() + 1), ElementsAre("checkpoint-20"));
  EXPECT_THAT(found, ::testing::Contains("checkpoint-40/one"));
  EXPECT_THAT(found, ::testing::Contains("checkpoint-40/two"));
  EXPECT_THAT(found, ::testing::Contains("checkpoint-60"));
  EXPECT_EQ(found.back(), "checkpoint-100");
  EXPECT_THAT(found, ::testing::Not(::testing::Contains("checkpoint-50")));
  EXPECT_THAT(found, ::testing::Not(::testing::Contains("checkpoint-70")));
}

TEST_F(Looks, TellWhatIsWhole) {
  const auto path = family.write_adapter("run/checkpoint-10", TinyFamily::adapter(1));
  EXPECT_TRUE(only().is_complete());
  EXPECT_FALSE(only().is_finished());
  family.directory.write("run/checkpoint-10/trainer_state.json", "{\"log_history\": [");
  EXPECT_FALSE(only().trainer.whole);
  family.directory.write("run/checkpoint-10/trainer_state.json", "{\"log_history\": []}\n");
  EXPECT_TRUE(only().is_finished());

  const auto weights = path + "/adapter_model.safetensors";
  const auto bytes = fs::file_size(weights);
  fs::resize_file(weights, bytes - 1);
  EXPECT_FALSE(only().is_complete());
  EXPECT_EQ(only().lack(), "adapter_model.safetensors is not whole");
  fs::resize_file(weights, 3);
  EXPECT_FALSE(only().is_complete());
  fs::remove(weights);
  EXPECT_EQ(only().lack(), "adapter_model.safetensors is not there");
  family.directory.write("run/checkpoint-10/adapter_config.json", "{\"r\": 4");
  EXPECT_EQ(only().lack(), "adapter_config.json is not whole");
  fs::remove(path + "/adapter_config.json");
  EXPECT_EQ(only().lack(), "adapter_config.json is not there");
}

TEST_F(Looks, AnOlderTrainerStateIsOfTheRunBefore) {
  const auto path = family.write_adapter("run/checkpoint-10", TinyFamily::adapter(1));
  const auto trainer = family.directory.write("run/checkpoint-10/trainer_state.json", "{}");
  const auto weights = path + "/adapter_model.safetensors", config = path + "/adapter_config.json";
  const auto now = fs::last_write_time(trainer);
  for (const auto& file : {weights, config}) {
    fs::last_write_time(weights, now - std::chrono::seconds(10));
    fs::last_write_time(config, now - std::chrono::seconds(10));
    EXPECT_TRUE(only().is_finished());
    fs::last_write_time(file, now + std::chrono::nanoseconds(1'000'000));
    EXPECT_FALSE(only().is_finished());
    EXPECT_TRUE(only().is_complete());
  }
}

TEST_F(Looks, SeeAFileThatWasReplacedByOneOfTheSameSize) {
  const auto path = family.write_adapter("run/checkpoint-10", TinyFamily::adapter(1));
  const auto before = only();
  family.write_adapter("other", TinyFamily::adapter(2));
  fs::rename(family.directory / "other/adapter_model.safetensors", path + "/adapter_model.safetensors");
  EXPECT_EQ(only().weights.state.bytes, before.weights.state.bytes);
  EXPECT_NE(only(), before);
}

}  // namespace
}  // namespace winnow::watch
