// What is refused before any work: places that cannot be written to, a model compared with itself, with strict an
// adapter that contradicts another.
#include <gmock/gmock.h>

#include <filesystem>

#include "base/expect_error.hpp"
#include "input/tiny_family.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/forecast/plan.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;
using run::AuditOptions;
using test::TinyFamily;
using ::testing::HasSubstr;

class Refusals : public ::testing::Test {
 protected:
  Refusals() { options = family.options({family.write_adapter("one", TinyFamily::adapter(1))}); }

  /// By audit and by plan alike.
  void expect_refused(const std::string& text, ErrorKind kind = ErrorKind::usage) {
    const auto world = comm::make_self();
    for (const bool dry : {false, true}) {
      try {
        if (dry) {
          forecast::plan_audit(options, 1, *world, base::Log());
        } else {
          audit(options, *world, base::Log());
        }
        ADD_FAILURE() << "nothing thrown, expected " << text;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(text));
      }
    }
  }

  TinyFamily family;
  AuditOptions options;
};

TEST_F(Refusals, AReportReplacesNothingButAReport) {
  family.directory.write("notes.h5", "not HDF5, whatever its name");
  options.write.report = family.directory / "notes.h5";
  expect_refused("refusing to overwrite what is not a report");
  options.write.report = "/dev/null";
  expect_refused("not a plain file");

  family.directory.write("empty.h5", "");
  options.write.report = family.directory / "empty.h5";
  const auto world = comm::make_self();
  for (int run = 0; run < 2; ++run) EXPECT_NO_THROW(audit(options, *world, base::Log()));
}

TEST_F(Refusals, TwoModelsOfOtherShapes) {
  for (auto& [name, matrix] : family.base) matrix = test::Matrix::random(3, 5, 1);
  options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
  expect_refused("matrices differ in shape", ErrorKind::invalid_input);
  expect_refused("expected [3, 5] as in " + options.read.base, ErrorKind::invalid_input);
}

TEST_F(Refusals, AModelComparedWithItself) {
  options.read.aligned = options.read.base + "/../base";
  expect_refused("--base and --aligned are the same checkpoint");
}

TEST_F(Refusals, AModelComparedWithACopyOfItself) {
  family.aligned = family.base;
  options = family.options(options.read.adapters);
  options.write.report = family.directory / "report.h5";
  const auto world = comm::make_self();
  try {
    audit(options, *world, base::Log());
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), HasSubstr("the two checkpoints do not differ in any module"));
  }
  EXPECT_FALSE(std::filesystem::exists(options.write.report));
}

TEST_F(Refusals, AModelComparedWithOneOfAnotherKind) {
  family.directory.write("base/config.json", R"({"model_type": "llama"})");
  family.directory.write("aligned/config.json", R"({"model_type": "mistral"})");
  expect_refused("the two checkpoints are of different models: " + options.read.aligned +
                     "/config.json; expected model_type llama as in " + options.read.base + ", found mistral",
                 ErrorKind::invalid_input);
  family.directory.write("aligned/config.json", R"({})");  // does not say
  const auto world = comm::make_self();
  EXPECT_NO_THROW(audit(options, *world, base::Log()));
}

TEST_F(Refusals, ARepairedAdapterThatIsAuditedIsNotReplaced) {
  options.write.repair = adapter::Repair::drop;
  options.judge.policy = {select::Policy::Kind::prune_top, 1};
  options.write.repaired_dir = family.directory / "pruned";
  const auto world = comm::make_self();
  audit(options, *world, base::Log());
  options.read.adapters.clear();
  options.read.zoo = options.write.repaired_dir;
  std::filesystem::create_directory_symlink(options.write.repaired_dir, family.directory / "link");
  for (const char* name : {"pruned", "link"}) {
    options.write.repaired_dir = family.directory / name;
    try {
      audit(options, *world, base::Log());
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.what(), HasSubstr("--repaired-dir would replace what is read"));
    }
  }
}

TEST_F(Refusals, ARepairedAdapterReplacesNothingButARepairedAdapter) {
  options.write.repair = adapter::Repair::drop;
  options.write.repaired_dir = family.directory.path();  // where adapter one itself is
  expect_refused("refusing to overwrite what is not a pruned adapter");
  options.write.repaired_dir = options.read.base + "/model.safetensors/deep/below";
  expect_refused("is not a directory");
}

/// PEFT passes over the flag on a linear layer: it must not turn a square weight, nor put others at odds with it.
TEST_F(Refusals, NoAdapterForAFlagThatItsLayersPassOver) {
  family.base[TinyFamily::weight(0)] = test::Matrix::random(10, 10, 1);
  family.aligned[TinyFamily::weight(0)] = test::Matrix::random(10, 10, 2);
  test::Tensors square;
  square[TinyFamily::key(0, "lora_A")] = test::Matrix::random(2, 10, 3);
  square[TinyFamily::key(0, "lora_B")] = test::Matrix::random(10, 2, 4);
  const auto plain = family.write_adapter("plain", square), turned = family.write_adapter("turned", square);
  family.directory.write(
      "turned/adapter_config.json",
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj"], "fan_in_fan_out": true})");
  for (const auto& order : {std::vector{plain, turned}, std::vector{turned, plain}}) {
    options = family.options(order);
    options.read.strict = true;
    const auto report = audit(options, *comm::make_self(), base::Log()).report;
    const auto& values = report.find_metric("alignment_cosine")->values;
    ASSERT_EQ(values.size(), 2U);
    EXPECT_EQ(report.adapters[0].status, "ok");
    EXPECT_EQ(report.adapters[1].status, "ok");
    EXPECT_EQ(values[0], values[1]);
  }
}

/// Without a config.json only adapters tell how a square Conv1D is stored.
TEST_F(Refusals, WithStrictAContradictingOrientation) {
  const std::string module = "h.0.attn.c_proj", key = "base_model.model." + module + ".";
  const auto write = [&](const std::string& name, unsigned seed) {
    std::filesystem::create_directories(family.directory / name);
    test::write_tensors(family.directory / (name + "/model.safetensors"),
                        {{module + ".weight", test::Matrix::random(10, 10, seed)}});
    return family.directory / name;
  };
  const auto lora = [&](const std::string& name, const std::string& flag) {
    const auto path = family.write_adapter(name, {{key + "lora_A.weight", test::Matrix::random(2, 10, 3)},
                                                  {key + "lora_B.weight", test::Matrix::random(10, 2, 4)}});
    family.directory.write(name + "/adapter_config.json", R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4,
        "target_modules": ["c_proj"], "fan_in_fan_out": )" + flag +
                                                              "}");
    return path;
  };
  const auto plain = lora("plain", "false"), turned = lora("turned", "true");
  options = family.options({plain, turned});
  options.read.base = write("square-base", 1);
  options.read.aligned = write("square-aligned", 2);
  const auto world = comm::make_self();
  std::string said;
  const auto log = base::Log([&](base::LogLevel, std::string_view text) { said += text; });
  EXPECT_EQ(audit(options, *world, log).report.adapters.at(1).status, "quarantined");
  EXPECT_THAT(said, HasSubstr("adapter turned is quarantined: fan_in_fan_out contradicts"));
  options.read.strict = true;
  test::expect_error(ErrorKind::invalid_input, HasSubstr(turned), [&] { audit(options, *world, base::Log()); });
}

}  // namespace
}  // namespace winnow::pipeline
