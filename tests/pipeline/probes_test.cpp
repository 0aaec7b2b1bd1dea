// Audits with probes, on one rank: values against dense matrices, what is missing or wrong, journals, merges. Any
// number of ranks: tests/mpi/probes_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

#include "base/expect_error.hpp"
#include "compute/built_backend.hpp"
#include "input/probe_family.hpp"
#include "judge/probe_bank.hpp"
#include "mpi/report_fingerprint.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/journal/incarnation.hpp"
#include "winnow/metrics/calibration.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/pipeline/merge.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using probes::Effect;
using probes::Form;
using run::AuditOptions;
using run::Progress;
using test::bank_of;
using test::expect_error;
using test::ProbeFamily;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Probes : public ::testing::Test {
 protected:
  report::Report run(const AuditOptions& options) {
    said.clear();
    return audit(options, *comm::make_self(), base::Log([this](base::LogLevel, std::string_view text) {
                   said += text;
                   said += '\n';
                 }))
        .report;
  }

  void expect_refused(const AuditOptions& options, ErrorKind kind, const ::testing::Matcher<std::string>& line) {
    expect_error(kind, AllOf(line, Not(HasSubstr("\n"))), [&] { run(options); });
  }

  static double value(const report::Report& report, const char* metric, std::size_t n, std::size_t m) {
    return report.find_metric(metric)->values[n * report.modules.size() + m];
  }

  ProbeFamily family;
  std::string said;
};

TEST_F(Probes, EqualDenseMatricesWithAndWithoutThePairOnEveryBackend) {
  for (const auto backend : test::built_backends()) {
    for (const bool pair : {true, false}) {
      for (const auto& [directions, adapters] : {std::pair{2, 2}, {1, 0}, {0, 1}, {0, 2}}) {
        SCOPED_TRACE(testing::Message() << compute::name(backend) << (pair ? " with" : " without") << " a pair, "
                                        << directions << " directions, " << adapters << " adapters");
        auto options = family.probe_options(pair, directions, adapters);
        options.means.backend = backend;
        const auto report = run(options);
        EXPECT_EQ(report.rank_by, "probe_dot");
        ASSERT_EQ(report.probes.size(), static_cast<std::size_t>(directions + adapters));
        expect_products(report, family);
        for (std::size_t n = 0; n < 3; ++n) {
          double sum = 0, largest = -2, pulls = 0;
          for (int k = 0; k < directions + adapters; ++k) {
            const bool dense = k < directions;
            const int which = dense ? k : k - directions;
            const double cosine = (which == 0 ? 1 : -1) * cosine_with(family, dense, which, static_cast<int>(n));
            sum += cosine;
            pulls += (which == 0 ? 1 : -1) * pull_with(family, dense, which, static_cast<int>(n));
            largest = std::max(largest, cosine);
          }
          EXPECT_NEAR(test::of_adapters(report, "probe_cosine").values[n], sum / (directions + adapters), 1e-6);
          EXPECT_NEAR(test::of_adapters(report, "probe_pull").values[n], pulls / (directions + adapters), 1e-6);
          EXPECT_EQ(report::adapter_scores(report).values[n], test::of_adapters(report, "probe_pull").values[n]);
          EXPECT_NEAR(test::of_adapters(report, "probe_cosine_max").values[n], largest, 1e-6);
          for (std::size_t m = 0; m < report.modules.size(); ++m) {
            const auto update = test::update_of(family.zoo[n], static_cast<int>(m));
            if (update.empty()) continue;
            const double norm = std::sqrt(test::inner(update, update));
            EXPECT_NEAR(value(report, "update_norm", n, m), norm, 1e-6 * norm);
          }
        }
        EXPECT_EQ(report.find_metric("ediem") != nullptr, pair);
        for (const auto& module : report.modules) EXPECT_EQ(std::isnan(module.alignment_norm), !pair);
      }
    }
  }
}

TEST_F(Probes, WhatThePairSaysDoesNotDependOnThem) {
  for (const auto backend : test::built_backends()) {
    auto plain = family.probe_options(true, 0, 0), with = family.probe_options(true);
    for (auto* options : {&plain, &with}) {
      options->means.backend = backend;
      options->judge.rank_by = "misalignment";
      options->measure.element_statistics = true;
    }
    const auto expected = run(plain), found = run(with);
    EXPECT_EQ(found.modules, expected.modules);
    EXPECT_EQ(found.action, expected.action);
    for (const auto& metric : expected.metrics) {
      const auto* same = found.find_metric(metric.name);
      ASSERT_NE(same, nullptr) << metric.name;
      for (std::size_t cell = 0; cell < metric.values.size(); ++cell) {
        const double x = metric.values[cell], y = same->values[cell];
        EXPECT_TRUE(x == y || (std::isnan(x) && std::isnan(y))) << metric.name << " " << cell;
      }
    }
    EXPECT_EQ(test::of_adapters(found, "alignment_opposition").values,
              test::of_adapters(expected, "alignment_opposition").values);
  }
}

TEST_F(Probes, ScalesOfAdaptersAndProbesAreTheirOwn) {
  auto options = family.probe_options(false, 1, 1);
  const auto before = run(options);
  family.directory.write("zoo-0/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": -6, "target_modules": ["up_proj"]})");
  family.directory.write("probe-0/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": -1, "target_modules": ["up_proj"]})");
  const auto after = run(options);
  const auto modules = after.modules.size(), cells = modules * 3;
  for (std::size_t m = 0; m < modules; ++m) {
    EXPECT_NEAR(after.probe_dots[m], -1.5 * before.probe_dots[m], 1e-12);
    EXPECT_NEAR(after.probe_dots[cells + m], 1.5 * 0.25 * before.probe_dots[cells + m], 1e-12);
    EXPECT_NEAR(after.probe_norms[modules + m], 0.25 * before.probe_norms[modules + m], 1e-12);
    EXPECT_NEAR(value(after, "update_norm", 0, m), 1.5 * value(before, "update_norm", 0, m), 1e-12);
    const auto along = [&](std::size_t k) {
      return before.probe_dots[k * cells + m] / before.probe_norms[k * modules + m] /
             value(before, "update_norm", 0, m);
    };
    EXPECT_NEAR(value(before, "probe_cosine", 0, m), (along(0) + along(1)) / 2, 1e-12);
    EXPECT_NEAR(value(after, "probe_cosine", 0, m), (-along(0) + along(1)) / 2, 1e-12);
  }
}

TEST_F(Probes, AModuleThatADirectionLacksHasNoValueAndIsTold) {
  for (const bool pair : {true, false}) {
    family.directions[0].erase(TinyFamily::weight(5));
    auto options = family.probe_options(pair, 1, 0);
    const auto report = run(options);
    if (pair) {
      expect_products(report, family);
      EXPECT_TRUE(std::isnan(value(report, "probe_dot", 0, 5)));
      EXPECT_EQ(report.action[5], report::Action::none);
      EXPECT_THAT(said, HasSubstr("could not be scored by probe_dot"));
    } else {
      EXPECT_EQ(report.modules.size(), 7U);
      EXPECT_EQ(report.adapters[0].modules_not_judged, 1U);
      EXPECT_THAT(report.adapters[0].not_judged, HasSubstr(TinyFamily::module(5)));
    }
    EXPECT_NEAR(test::of_adapters(report, "probe_cosine").values[0], cosine_with(family, true, 0, 0), 1e-6);
  }
}

TEST_F(Probes, ADirectionOfAnotherShapeIsRefusedNamingTheTensor) {
  family.directions[1][TinyFamily::weight(5)] = test::Matrix::random(10, 12, 1);
  for (const bool pair : {true, false}) {
    expect_refused(family.probe_options(pair), ErrorKind::invalid_input,
                   AllOf(HasSubstr("shape"), HasSubstr(TinyFamily::weight(5)), HasSubstr("direction-1"),
                         HasSubstr("[12, 10]"), HasSubstr("[10, 12]")));
  }
}

TEST_F(Probes, AValueOfADirectionThatCannotBeComputedWithTakesThatModuleOnly) {
  for (const float bad : {std::nanf(""), INFINITY, 1e30F}) {
    family.directions[0][TinyFamily::weight(2)].values[17] = bad;
    for (const bool pair : {true, false}) {
      const auto report = run(family.probe_options(pair, 1, 0));
      EXPECT_TRUE(std::isnan(report.probe_norms[2]));
      EXPECT_TRUE(std::isnan(value(report, "probe_dot", 0, 2)));
      EXPECT_TRUE(std::isfinite(value(report, "probe_dot", 0, 3)));
      EXPECT_TRUE(std::isfinite(value(report, "update_norm", 0, 2)));
      EXPECT_EQ(report.action[2], report::Action::none);
      EXPECT_THAT(said, AllOf(HasSubstr("cannot be computed with"), HasSubstr("direction-0/model.safetensors"),
                              HasSubstr(TinyFamily::weight(2) + ", row 1, column 7")));
      EXPECT_EQ(report.modules[2].flags, 0U) << "nothing is wrong with the weights";
    }
  }
}

// Below what float32 holds products lose their digits, on each backend others: no cosine is better than any.
TEST_F(Probes, ADirectionTooSmallToComputeWithHasNoValueOnAnyBackend) {
  for (const float size : {1e-42F, 1e-33F}) {
    for (auto& value : family.directions[0][TinyFamily::weight(2)].values) value = value < 0 ? -size : size;
    for (auto& value : family.directions[0][TinyFamily::weight(3)].values) value *= 1e-24F;  // within the range
    for (const auto backend : test::built_backends()) {
      auto options = family.probe_options(false, 1, 0);
      options.means.backend = backend;
      const auto report = run(options);
      EXPECT_TRUE(std::isnan(report.probe_norms[2]));
      EXPECT_TRUE(std::isnan(value(report, "probe_cosine", 0, 2)));
      EXPECT_THAT(said, AllOf(HasSubstr("too small to compute with"), HasSubstr(TinyFamily::weight(2)),
                              Not(HasSubstr(TinyFamily::weight(3)))));
      const auto update = test::update_of(family.zoo[0], 3), direction = family.direction_of(0, 3);
      const double cosine = test::inner(update, direction) / std::sqrt(test::inner(update, update)) /
                            std::sqrt(test::inner(direction, direction));
      EXPECT_NEAR(value(report, "probe_cosine", 0, 3), cosine, 1e-6);
    }
    family.directions[0] = ProbeFamily().directions[0];
  }
}

TEST_F(Probes, OneThatSaysNothingIsTold) {
  for (auto& [name, matrix] : family.directions[0]) std::fill(matrix.values.begin(), matrix.values.end(), 0.0F);
  for (auto& [name, matrix] : family.directions[1])
    std::fill(matrix.values.begin(), matrix.values.end(), std::nanf(""));
  const auto report = run(family.probe_options(true, 2, 1));
  EXPECT_THAT(said, AllOf(HasSubstr("probe direction-0 is zero in every module"),
                          HasSubstr("probe direction-1 has nothing that can be compared in every module"),
                          Not(HasSubstr("probe probe-0 "))));
  EXPECT_EQ(report.probe_norms[0], 0);
}

// [c, -c, B] and [d; d; A] are the update B*A when they are served, and r x r sums know nothing of it: it is not
// judged.
TEST_F(Probes, FactorsThatCancelHideNothing) {
  for (const bool pair : {false, true}) {
    for (const float size : {0x1p30F, 1e12F}) {
      family.zoo[1] = family.probe_adapters[0];
      for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
        auto &a = family.zoo[1][TinyFamily::key(layer, "lora_A")], &b = family.zoo[1][TinyFamily::key(layer, "lora_B")];
        test::Matrix wide_a{a.rows + 2, a.columns, {}}, wide_b{b.rows, b.columns + 2, {}};
        wide_a.values.assign(2 * a.columns, 1.0F);
        wide_a.values.insert(wide_a.values.end(), a.values.begin(), a.values.end());
        for (std::uint64_t row = 0; row < b.rows; ++row) {
          wide_b.values.insert(wide_b.values.end(), {size, -size});
          const auto first = b.values.begin() + static_cast<std::ptrdiff_t>(row * b.columns);
          wide_b.values.insert(wide_b.values.end(), first, first + static_cast<std::ptrdiff_t>(b.columns));
        }
        a = wide_a;
        b = wide_b;
      }
      for (const auto& [directions, adapters] : {std::pair{1, 0}, {0, 1}, {1, 1}}) {
        const auto report = run(family.probe_options(pair, directions, adapters));
        for (std::size_t m = 0; m < report.modules.size(); ++m) {
          EXPECT_TRUE(std::isnan(value(report, "probe_dot", 1, m))) << pair << directions << adapters << m;
          EXPECT_TRUE(std::isnan(value(report, "update_norm", 1, m)));
          EXPECT_TRUE(std::isfinite(value(report, "probe_dot", 0, m)));
        }
        EXPECT_TRUE(std::isnan(report.find_of_adapters("probe_cosine")->values[1]));
        EXPECT_THAT(said, HasSubstr("could not be scored"));
      }
    }
  }
}

// What is said of one must not depend on whether another one lies where the probe is not zero.
TEST_F(Probes, WhereAProbeIsZeroNothingIsComparedWhateverElseIsInTheZoo) {
  for (auto& [name, matrix] : family.directions[0]) {
    if (name != TinyFamily::weight(0)) std::fill(matrix.values.begin(), matrix.values.end(), 0.0F);
  }
  for (const char* factor : {"lora_A", "lora_B"}) family.zoo[1].erase(TinyFamily::key(0, factor));
  const auto report = run(family.probe_options(false, 1, 0));
  EXPECT_TRUE(std::isnan(report.find_of_adapters("probe_cosine")->values[1]));
  EXPECT_TRUE(std::isfinite(report.find_of_adapters("probe_cosine")->values[0]));
  auto alone = family.probe_options(false, 2, 0);
  alone.read.adapters.erase(alone.read.adapters.begin());
  const auto both = run(family.probe_options(false, 2, 0)), one = run(alone);
  EXPECT_EQ(both.find_of_adapters("probe_cosine")->values[1], one.find_of_adapters("probe_cosine")->values[0]);
}

TEST_F(Probes, AModuleThatNoProbeHasIsToldAsThat) {
  family.zoo[0]["base_model.model.vision.up_proj.lora_A.weight"] = test::Matrix::random(2, 10, 1);
  family.zoo[0]["base_model.model.vision.up_proj.lora_B.weight"] = test::Matrix::random(12, 2, 2);
  EXPECT_EQ(run(family.probe_options(false, 1, 1)).adapters[0].not_judged, "no probe has it: vision.up_proj");
  EXPECT_EQ(run(family.probe_options(true, 1, 1)).adapters[0].not_judged,
            "no tensor of the checkpoint matches it: vision.up_proj");
}

TEST_F(Probes, ADirectionGivenAsAnAdapterIsToldFromNothing) {
  auto options = family.probe_options(false, 1, 0);
  options.read.probes[0].form = Form::adapter;
  expect_error(base::ErrorKind::invalid_input,
               AllOf(HasSubstr("it is shaped like a checkpoint, not an adapter"), HasSubstr("--direction")),
               [&] { run(options); });
}

TEST_F(Probes, AnAdapterGivenAsADirectionIsToldFromNothing) {
  auto options = family.probe_options(false, 0, 1);
  options.read.probes[0].form = Form::direction;
  expect_error(base::ErrorKind::invalid_input,
               AllOf(HasSubstr("a probe cannot be used: it is an adapter, not shaped like a checkpoint"),
                     HasSubstr("; give it as --probe"), Not(HasSubstr("--adapter"))),
               [&] { run(options); });
}

// A direction of which nothing can be computed with is one warning, not one for each of its modules.
TEST_F(Probes, OneWarningTellsOfAllModulesOfADirection) {
  for (const int layer : {2, 4, 5}) {
    for (auto& value : family.directions[0][TinyFamily::weight(layer)].values) value = value < 0 ? -1e-42F : 1e-42F;
  }
  family.directions[1][TinyFamily::weight(7)].values[3] = INFINITY;
  family.directions[1][TinyFamily::weight(6)].values[17] = INFINITY;
  run(family.probe_options(false, 2, 0));
  constexpr std::string_view kNothingThere = "no adapter is compared there";
  std::size_t count = 0;
  for (auto at = said.find(kNothingThere); at != std::string::npos; at = said.find(kNothingThere, at + 1)) ++count;
  EXPECT_EQ(count, 2U) << said;
  EXPECT_THAT(said, AllOf(HasSubstr(TinyFamily::weight(2) + "; its norm is below"), HasSubstr("; and 2 more modules\n"),
                          HasSubstr(TinyFamily::weight(6) + ", row 1, column 7; and 1 more module\n")));
}

TEST_F(Probes, ADirectionOfZerosScoresNothing) {
  for (auto& [name, matrix] : family.directions[0]) std::fill(matrix.values.begin(), matrix.values.end(), 0.0F);
  test::expect_error(base::ErrorKind::invalid_input, HasSubstr("none of 3 adapters could be scored"),
                     [&] { run(family.probe_options(false, 1, 0)); });
  EXPECT_THAT(said, HasSubstr("probe direction-0 is zero in every module"));
  // Beside another one it is left out.
  const auto both = run(family.probe_options(false, 2, 0)), one = run([&] {
                                                              auto options = family.probe_options(false, 2, 0);
                                                              options.read.probes.erase(options.read.probes.begin());
                                                              return options;
                                                            }());
  EXPECT_EQ(both.find_of_adapters("probe_cosine")->values, one.find_of_adapters("probe_cosine")->values);
}

// With itself a harmful one has a cosine of 1, and is what a threshold finds first; a safe one says nothing of itself.
TEST_F(Probes, OneThatIsInTheZooIsComparedWithItselfIfItIsHarmful) {
  family.zoo[1] = family.probe_adapters[0];
  auto options = family.probe_options(false, 0, 1);
  for (const auto effect : {Effect::harmful, Effect::safe}) {
    options.read.probes[0].effect = effect;
    const auto report = run(options);
    const double cosine = report.find_of_adapters("probe_cosine")->values[1];
    EXPECT_TRUE(effect == Effect::harmful ? std::abs(cosine - 1) < 1e-6 : std::isnan(cosine)) << cosine;
  }
}

TEST_F(Probes, WhatIsNoProbeIsRefusedInOneLine) {
  const auto options = family.probe_options(true, 1, 1);
  fs::create_directories(family.directory / "empty");
  family.directory.write("file", "no directory");
  for (const auto form : {Form::direction, Form::adapter}) {
    for (const char* name : {"nowhere", "empty", "file"}) {
      auto wrong = options;
      wrong.read.probes.push_back({Effect::harmful, form, family.directory / name});
      SCOPED_TRACE(testing::Message() << probes::name(form) << " " << name);
      try {
        run(wrong);
        ADD_FAILURE() << "nothing thrown";
      } catch (const Error& error) {
        EXPECT_EQ(static_cast<int>(error.kind()), 3) << error.what();
        EXPECT_THAT(error.what(), AllOf(HasSubstr(family.directory / name), Not(HasSubstr("\n"))));
      }
    }
  }
  auto crossed = options;
  crossed.read.probes[0].form = Form::adapter;  // a checkpoint is no adapter
  expect_refused(crossed, ErrorKind::invalid_input, HasSubstr("direction-0"));
}

TEST_F(Probes, ADirectionOfIntegersIsRefused) {
  auto options = family.probe_options(true, 1, 0);
  checkpoint::SafetensorsWriter writer(
      options.read.probes[0].path + "/model.safetensors",
      {{TinyFamily::weight(4), base::DType::i32, {TinyFamily::kOut, TinyFamily::kIn}}});
  const std::vector<std::int32_t> values(TinyFamily::kOut * TinyFamily::kIn, 1);
  writer.append(std::as_bytes(std::span(values)));
  writer.commit();
  expect_refused(options, ErrorKind::invalid_input, AllOf(HasSubstr("I32"), HasSubstr(TinyFamily::weight(4))));
}

TEST_F(Probes, TheSameProbeTwiceIsRefused) {
  for (const bool direction : {true, false}) {
    auto options = family.probe_options(true, direction ? 1 : 0, direction ? 0 : 1);
    options.read.probes.push_back(options.read.probes[0]);
    options.read.probes[1].effect = Effect::safe;
    options.read.probes[1].path += "/.";
    expect_refused(options, ErrorKind::usage, HasSubstr("a probe is given twice"));
  }
}

TEST_F(Probes, WhatOfAProbeIsNoPartOfItIsSaid) {
  for (const bool pair : {true, false}) {
    run(family.probe_options(pair, 0, 1));
    EXPECT_THAT(said, Not(HasSubstr("no part of it")));
  }
  family.probe_adapters[0]["base_model.model.lm_head.weight"] = test::Matrix::random(3, TinyFamily::kIn, 7);
  run(family.probe_options(true, 0, 1));
  EXPECT_THAT(said, HasSubstr("probe probe-0: 1 of its tensors is no part of it, the first "
                              "base_model.model.lm_head.weight: full weight"));
}

TEST_F(Probes, AProbeThatWouldBeQuarantinedIsRefused) {
  auto options = family.probe_options(true, 0, 1);
  family.directory.write(
      "probe-0/adapter_config.json",
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj"], "use_dora": true})");
  for (const bool pair : {true, false}) {
    if (!pair) options.read.base = options.read.aligned = "";
    expect_refused(options, ErrorKind::invalid_input,
                   AllOf(HasSubstr("probe"), HasSubstr("probe-0"), HasSubstr("make a direction of it"),
                         Not(HasSubstr("an audit with --aligned"))));
  }
  options = family.probe_options(false, 0, 1);
  auto broken = family.probe_adapters[0];
  broken[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;
  family.write_adapter("probe-0", broken);
  expect_refused(options, ErrorKind::invalid_input, AllOf(HasSubstr("a probe cannot be used"), HasSubstr("probe-0")));
}

TEST_F(Probes, AnAdapterThatSharesNothingWithAnyProbeIsNeverZero) {
  test::Tensors elsewhere;
  for (const char* factor : {"lora_A", "lora_B"}) {
    elsewhere["base_model.model.model.layers.0.mlp.down_proj." + std::string(factor) + ".weight"] =
        factor[5] == 'A' ? test::Matrix::random(2, 12, 1) : test::Matrix::random(10, 2, 2);
  }
  for (const auto& [directions, adapters] : {std::pair{1, 0}, {0, 1}, {1, 1}}) {
    auto options = family.probe_options(false, directions, adapters);
    options.read.adapters.push_back(family.write_adapter("elsewhere", elsewhere));
    const auto report = run(options);
    ASSERT_EQ(report.adapters.size(), 4U);
    EXPECT_EQ(report.adapters[3].status, "quarantined") << report.adapters[3].reason;
    EXPECT_TRUE(std::isnan(test::of_adapters(report, "probe_cosine").values[3]));
    EXPECT_THAT(said, HasSubstr("elsewhere"));
    options.read.adapters = {options.read.adapters.back()};
    expect_error(ErrorKind::invalid_input, HasSubstr("no adapter could be scored"), [&] { run(options); });
  }
  // With a pair that has all of it the pair's numbers remain.
  for (int layer = 1; layer < TinyFamily::kLayers; ++layer) {
    for (const char* factor : {"lora_A", "lora_B"}) family.probe_adapters[0].erase(TinyFamily::key(layer, factor));
  }
  for (const char* factor : {"lora_A", "lora_B"}) family.zoo[0].erase(TinyFamily::key(0, factor));
  const auto report = run(family.probe_options(true, 0, 1));
  EXPECT_EQ(report.adapters[0].status, "ok");
  for (const char* name : {"probe_cosine", "probe_cosine_max", "probe_coefficient"}) {
    EXPECT_TRUE(std::isnan(test::of_adapters(report, name).values[0])) << name;
    EXPECT_FALSE(std::isnan(test::of_adapters(report, name).values[1])) << name;
  }
  EXPECT_TRUE(std::isfinite(value(report, "ediem", 0, 1)));
  EXPECT_THAT(said, HasSubstr("could not be scored by probe_dot"));
}

TEST_F(Probes, AnAdapterWithoutAnUpdateHasNoCosine) {
  for (auto& [name, matrix] : family.zoo[0]) {
    if (name.find("lora_B") != std::string::npos) std::fill(matrix.values.begin(), matrix.values.end(), 0.0F);
  }
  const auto report = run(family.probe_options(false));
  expect_products(report, family);
  EXPECT_EQ(test::of_adapters(report, "probe_cosine").values[0], 0);
  EXPECT_EQ(value(report, "probe_dot", 0, 0), 0);
}

TEST_F(Probes, OptionsThatNeedWhatIsNotGivenAreRefused) {
  auto options = family.probe_options(false, 1, 0);
  options.judge.rank_by = "ediem";
  expect_refused(options, ErrorKind::usage, AllOf(HasSubstr("needs both checkpoints"), HasSubstr("--base")));
  options.judge.rank_by = "";
  options.measure.element_statistics = true;
  expect_refused(options, ErrorKind::usage, AllOf(HasSubstr("--element-stats"), HasSubstr("--base")));
  options = family.probe_options(true, 0, 0);
  options.judge.rank_by = "probe_dot";
  expect_refused(options, ErrorKind::usage, AllOf(HasSubstr("needs a probe"), HasSubstr("--direction harmful=DIR")));
  options = family.probe_options(true, 1, 0);
  options.read.aligned = "";
  expect_refused(options, ErrorKind::usage, HasSubstr("--aligned is missing"));
  options = family.probe_options(false, 0, 0);
  expect_refused(options, ErrorKind::usage, HasSubstr("nothing to compare the adapters with"));
}

TEST_F(Probes, TransposedWeightsOfADirectionAreKnownByTheirShape) {
  const auto expected = run(family.probe_options(false, 2, 0));
  for (auto* tensors : {&family.directions[0], &family.directions[1], &family.base, &family.aligned}) {
    for (auto& [name, matrix] : *tensors) {
      test::Matrix turned{matrix.columns, matrix.rows, std::vector<float>(matrix.values.size())};
      for (std::uint64_t r = 0; r < matrix.rows; ++r) {
        for (std::uint64_t c = 0; c < matrix.columns; ++c) {
          turned.values[c * matrix.rows + r] = matrix.values[r * matrix.columns + c];
        }
      }
      matrix = std::move(turned);
    }
  }
  for (const bool pair : {false, true}) {
    auto options = family.probe_options(pair, 2, pair ? 1 : 0);
    for (const char* name : {"zoo-0", "zoo-1", "zoo-2", "probe-0"}) {
      if (!fs::exists(family.directory / name)) continue;
      family.directory.write(std::string(name) + "/adapter_config.json",
                             R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["up_proj"],
                                 "fan_in_fan_out": true})");
    }
    const auto found = run(options);
    for (std::size_t k = 0; k < expected.probe_dots.size(); ++k) {
      if (std::isnan(expected.probe_dots[k])) continue;
      EXPECT_NEAR(found.probe_dots[k], expected.probe_dots[k], 1e-6) << k;
    }
  }
}

TEST_F(Probes, ATiedHeadIsMeasuredOnTheEmbedding) {
  test::Tensors direction, adapter;
  direction["model.embed_tokens.weight"] = test::Matrix::random(40, 10, 1);
  adapter["base_model.model.lm_head.lora_A.weight"] = test::Matrix::random(2, 10, 2);
  adapter["base_model.model.lm_head.lora_B.weight"] = test::Matrix::random(40, 2, 3);
  AuditOptions options;
  options.means.threads = 1;
  options.read.probes = {{Effect::harmful, Form::direction, family.write_direction("tied", direction)}};
  options.read.adapters = {family.write_adapter("head", adapter)};
  family.directory.write("head/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["lm_head"]})");
  family.directory.write("tied/config.json", R"({"model_type": "llama", "tie_word_embeddings": true})");
  const auto report = run(options);
  ASSERT_EQ(report.modules.size(), 1U);
  EXPECT_TRUE(std::isfinite(report.probe_dots[0]));
  EXPECT_NE(report.probe_dots[0], 0);
  family.directory.write("tied/config.json", R"({"model_type": "llama", "tie_word_embeddings": false})");
  expect_error(ErrorKind::invalid_input, HasSubstr("no adapter could be scored"), [&] { run(options); });
}

TEST_F(Probes, AProbeThatCannotBeReadEndsTheRun) {
  class Failing final : public slab::Reader {
   public:
    explicit Failing(std::string what) : what_(std::move(what)) {}
    void read(const std::string& path, std::uint64_t offset, std::span<std::byte> to,
              std::string_view tensor) override {
      if (path.find(what_) != std::string::npos) {
        throw Error(ErrorKind::runtime, "cannot read file").os_error(EIO).file(path);
      }
      inner_->read(path, offset, to, tensor);
    }

   private:
    std::string what_;
    std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
  };
  for (const char* name : {"direction-1", "probe-0"}) {
    auto options = family.probe_options(true);
    options.seams.make_reader = [=] { return std::make_unique<Failing>(name); };
    options.journal.directory = family.directory / (std::string("journal-") + name);
    try {
      run(options);
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
      EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(ErrorKind::runtime)) << error.what();
    }
    options.seams.make_reader = {};  // and once it can
    options = family.probe_options(true);
    options.journal.directory = family.directory / (std::string("journal-") + name);
    options.journal.resume = true;
    EXPECT_EQ(test::report_fingerprint(run(options)), test::report_fingerprint(run(family.probe_options(true))));
  }
}

TEST_F(Probes, OneThatChangesMeanwhileEndsTheRun) {
  for (const int which : {0, 2}) {
    auto options = family.probe_options(false);
    const auto file = options.read.probes[static_cast<std::size_t>(which)].path +
                      (which == 0 ? "/model.safetensors" : "/adapter_model.safetensors");
    options.progress = [&](const Progress& progress) {
      if (progress.modules_done != 1) return;
      auto other = which == 0 ? family.directions[1] : TinyFamily::adapter(77);
      test::write_tensors(file, other);
      fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(5));
    };
    expect_error(ErrorKind::runtime, AllOf(HasSubstr("file was changed while it was read"), HasSubstr(file)),
                 [&] { run(options); });
  }
}

// Values of the factors that would decide on the last bit must not come from whichever rank's scores come first.
TEST_F(Probes, TheOrderInWhichModulesWereScoredDoesNotMatter) {
  for (const auto backend : test::built_backends()) {
    auto options = family.probe_options(false);
    options.means.backend = backend;
    const auto whole = test::report_fingerprint(run(options));
    for (const std::uint64_t after : {1, 3, 9, 20}) {
      auto interrupted = options;
      interrupted.journal.directory = family.directory / (std::string(compute::name(backend)) + std::to_string(after));
      interrupted.progress = [=](const Progress& progress) {
        if (progress.modules_done == after) throw Error(ErrorKind::runtime, "on purpose");
      };
      expect_error(ErrorKind::runtime, HasSubstr("on purpose"), [&] { run(interrupted); });
      interrupted.progress = {};
      interrupted.journal.resume = true;
      EXPECT_EQ(test::report_fingerprint(run(interrupted)), whole) << compute::name(backend) << ", " << after;
    }
  }
}

class ResumeWithProbes : public Probes {
 protected:
  ResumeWithProbes() : options(family.probe_options(true)) {
    options.journal.directory = family.directory / "journal";
    whole = [this] {
      auto plain = options;
      plain.journal.directory.clear();
      return test::report_fingerprint(run(plain));
    }();
    // Modules in order, each with its pair, two directions and the adapters: three of the first module are scored.
    options.progress = [](const Progress& progress) {
      if (progress.modules_done == 7) throw Error(ErrorKind::runtime, "on purpose");
    };
    expect_error(ErrorKind::runtime, HasSubstr("on purpose"), [&] { run(options); });
    options.progress = {};
    options.journal.resume = true;
  }

  /// Flips the lowest bit of an element of direction-0 and tells the file's clock.
  void flip(int layer, std::size_t element = 60) {
    auto& value = family.directions[0][TinyFamily::weight(layer)].values[element];
    value = std::nextafterf(value, 1.0F);
    family.write_direction("direction-0", family.directions[0]);
    const auto file = options.read.probes[0].path + "/model.safetensors";
    fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(10));
  }

  AuditOptions options;
  std::string whole;
};

TEST_F(ResumeWithProbes, DoesWhatIsLeftAndGivesTheSameReport) {
  std::uint64_t computed = 0;
  options.progress = [&](const Progress& progress) { computed = progress.modules_done; };
  EXPECT_EQ(test::report_fingerprint(run(options)), whole);
  EXPECT_EQ(computed, 4U * 8 - 7);
}

TEST_F(ResumeWithProbes, OfAFinishedRunReadsNoWeights) {
  run(options);
  options.seams.make_reader = []() -> std::unique_ptr<slab::Reader> { throw std::logic_error("weights are read"); };
  EXPECT_EQ(test::report_fingerprint(run(options)), whole);
}

TEST_F(ResumeWithProbes, ATouchedDirectionIsReadAgainAndGoesOn) {
  const auto file = options.read.probes[0].path + "/model.safetensors";
  fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(10));
  EXPECT_EQ(test::report_fingerprint(run(options)), whole);
  EXPECT_THAT(said, HasSubstr("2 weights that have been scored are read again"));
}

TEST_F(ResumeWithProbes, OneBitOfADirectionThatWasScoredIsRefusedNamingTheTensor) {
  flip(0);
  expect_refused(options, ErrorKind::invalid_input,
                 AllOf(HasSubstr("the journal is of other weights"), HasSubstr("direction-0/model.safetensors"),
                       HasSubstr(TinyFamily::weight(0))));
}

TEST_F(ResumeWithProbes, OneBitOfADirectionThatWasNotScoredGoesOn) {
  flip(6);
  const auto resumed = test::report_fingerprint(run(options));
  auto plain = options;
  plain.journal.directory.clear();
  plain.journal.resume = false;
  EXPECT_EQ(resumed, test::report_fingerprint(run(plain)));
}

TEST_F(ResumeWithProbes, AnotherDirectionOfTheSameHeaderIsRefusedNamingTheTensor) {
  family.write_direction("direction-0", family.directions[1]);
  const auto file = options.read.probes[0].path + "/model.safetensors";
  fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(10));
  expect_refused(options, ErrorKind::invalid_input,
                 AllOf(HasSubstr("the journal is of other weights"), HasSubstr(TinyFamily::weight(0))));
}

TEST_F(ResumeWithProbes, OtherProbesAreRefusedSayingWhatDiffers) {
  const auto refused = [&](const AuditOptions& other, const char* line) {
    expect_refused(other, ErrorKind::usage, AllOf(HasSubstr("of other inputs or options"), HasSubstr(line)));
  };
  auto other = options;
  other.read.probes[0].effect = Effect::safe;
  refused(other, "effect: harmful then, safe now");
  other = options;
  other.read.probes.pop_back();
  refused(other, "probes: 4 then, 3 now");
  other = options;
  std::swap(other.read.probes[0], other.read.probes[1]);
  refused(other, "probes");
  family.write_adapter("probe-0", TinyFamily::adapter(33));
  refused(options, "probes probe-0 digest: ");
  family.write_adapter("probe-0", family.probe_adapters[0]);
  family.directory.write("probe-0/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 5, "target_modules": ["up_proj"]})");
  refused(options, "probes probe-0 layers: ");
}

class MergeWithProbes : public Probes {
 protected:
  MergeWithProbes() : options(family.probe_options(true)) {
    options.means.backend = compute::Backend::reference;  // a layer's bits do not depend on those beside it
  }
  report::Report part(const AuditOptions& whole, std::size_t begin, std::size_t end) {
    auto these = whole;
    these.read.adapters = {whole.read.adapters.begin() + static_cast<std::ptrdiff_t>(begin),
                           whole.read.adapters.begin() + static_cast<std::ptrdiff_t>(end)};
    auto report = run(these);
    return report;
  }
  AuditOptions options;
};

TEST_F(MergeWithProbes, TwoSlicesAreTheWholeBitForBit) {
  for (const bool pair : {true, false}) {
    if (!pair) options.read.base = options.read.aligned = "";
    // The first slice knows nothing of module 6.
    std::swap(options.read.adapters[0], options.read.adapters[1]);
    std::swap(family.zoo[0], family.zoo[1]);
    const auto whole = run(options);
    const auto merged = merge_reports({{"a.h5", part(options, 0, 1)}, {"b.h5", part(options, 1, 3)}}, {});
    EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole));
    EXPECT_EQ(merged.rank_by, whole.rank_by);
    EXPECT_EQ(merged.probes.size(), 4U);
  }
}

TEST_F(MergeWithProbes, ThroughFilesTheyAreToo) {
  options.read.base = options.read.aligned = "";
  const auto whole = run(options);
  auto first = options, second = options;
  first.read.adapters.resize(1);
  second.read.adapters.erase(second.read.adapters.begin());
  first.write.report = family.directory / "a.h5";
  second.write.report = family.directory / "b.h5";
  run(first);
  run(second);
  const auto merged = merge_report_files({first.write.report, second.write.report}, family.directory / "c.h5", {}, {});
  EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole));
  EXPECT_EQ(test::report_fingerprint(report::read_hdf5(family.directory / "c.h5")), test::report_fingerprint(whole));
}

TEST_F(MergeWithProbes, PartsWithOtherProbesAreRefused) {
  const auto one = part(options, 0, 1);
  const auto refused = [&](const AuditOptions& other, const char* line) {
    const auto two = part(other, 1, 3);
    expect_error(ErrorKind::invalid_input, AllOf(HasSubstr("not parts of one audit: b.h5"), HasSubstr(line)), [&] {
      merge_reports({{"a.h5", one}, {"b.h5", two}}, {});
    });
  };
  auto other = options;
  other.read.probes[0].effect = Effect::safe;
  refused(other, "found safe direction");
  other = options;
  other.read.probes.pop_back();
  refused(other, "found none");
  other = options;
  std::swap(other.read.probes[0], other.read.probes[2]);
  refused(other, "probe 1");
  other = options;
  other.read.probes.clear();
  other.judge.rank_by = "probe_dot";
  other.judge.rank_by = "ediem";
  refused(other, "found none");
}

// The digest of a direction is that of its headers and of a sample.
TEST_F(MergeWithProbes, PartsOfOneBitOfAnotherDirectionAreRefusedWhereItShows) {
  const auto one = part(options, 0, 1);
  family.directions[0][TinyFamily::weight(2)].values[0] *= 2;
  family.write_direction("direction-0", family.directions[0]);
  auto two = part(options, 1, 3);
  for (std::size_t k = 0; k < two.probes.size(); ++k) two.probes[k].digest = one.probes[k].digest;
  expect_error(ErrorKind::invalid_input,
               AllOf(HasSubstr("b.h5"), HasSubstr(TinyFamily::module(2)), HasSubstr("direction-0")), [&] {
                 merge_reports({{"a.h5", one}, {"b.h5", two}}, {});
               });
}

class Bank : public Probes {
 protected:
  Bank() : options(family.probe_options(false)) { plain = run(options); }
  void write_bank(const report::Report& bank) {
    options.judge.bank = family.directory / "bank.h5";
    report::write_hdf5(bank, options.judge.bank);
  }
  AuditOptions options;
  report::Report plain;
};

TEST_F(Bank, RanksByHowUnusualAnAdapterIsBesideIt) {
  write_bank(bank_of(plain, 9));
  const auto report = run(options);
  ASSERT_EQ(report.bank.size(), 9U);
  const auto adapters = report.adapters.size(), modules = report.modules.size();
  const auto& norms = report.find_metric("update_norm")->values;
  metrics::Bank bank;
  for (const auto& member : report.bank) bank.ids.push_back(member.digest);
  std::vector<std::vector<double>> values;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    double unit = 0;
    auto& pulls = values.emplace_back();
    for (std::size_t n = 0; n < adapters; ++n) {
      double dot = 0, squares = 0, probe = 0;
      for (std::size_t m = 0; m < modules; ++m) {
        const double norm = report.probe_norms[k * modules + m];
        if (!std::isnan(norm)) probe += norm * norm;
        const double here = report.probe_dots[(k * adapters + n) * modules + m];
        if (!(norm > 0) || std::isnan(here)) continue;
        dot += here;
        squares += norms[n * modules + m] * norms[n * modules + m];
      }
      unit = std::sqrt(probe);
      pulls.push_back(dot / unit / std::sqrt(std::sqrt(squares)));
    }
    EXPECT_NEAR(report.bank_units[k], unit, 1e-12 * unit);
    const auto of_bank = report.bank_pulls.begin() + static_cast<std::ptrdiff_t>(k * 9);
    bank.statistics.push_back({{of_bank, of_bank + 9}, k % 2 == 0 ? metrics::Tail::upper : metrics::Tail::lower});
  }
  bank.statistics.push_back({report.bank_log_norms, metrics::Tail::upper, std::log(2.0)});
  auto& sizes = values.emplace_back();
  for (std::size_t n = 0; n < adapters; ++n) {
    double squares = 0;
    for (int layer = 0; layer < test::TinyFamily::kLayers; ++layer) {
      const auto update = test::update_of(family.zoo[n], layer);
      squares += test::inner(update, update);
    }
    sizes.push_back(std::log(squares) / 2);
  }
  const auto expected = metrics::calibrate(values, {"a", "b", "c"}, bank);
  for (std::size_t n = 0; n < adapters; ++n) {
    EXPECT_NEAR(test::of_adapters(report, "bank_deviation").values[n], expected[n].deviation,
                1e-6 * std::abs(expected[n].deviation));
    EXPECT_EQ(test::of_adapters(report, "bank_statistic").values[n], static_cast<double>(expected[n].statistic));
    EXPECT_EQ(test::of_adapters(report, "bank_p").values[n], expected[n].p);
    EXPECT_NE(expected[n].deviation, 0);
  }
  EXPECT_EQ(test::of_adapters(report, "probe_cosine").values, test::of_adapters(plain, "probe_cosine").values);
}

TEST_F(Bank, SeesAHarmlessDirectionTimesAThousand) {
  write_bank(bank_of(plain, 9));
  const auto ordinary = run(options);
  for (int layer = 0; layer < test::TinyFamily::kLayers; ++layer) {
    for (auto& value : family.zoo[0].at(test::ProbeFamily::key(layer, "lora_B")).values) value *= 1000;
  }
  auto scaled = family.probe_options(false);
  scaled.judge.bank = options.judge.bank;
  const auto report = run(scaled);
  EXPECT_NEAR(test::of_adapters(report, "probe_cosine").values[0],
              test::of_adapters(ordinary, "probe_cosine").values[0], 1e-6);
  EXPECT_GT(test::of_adapters(report, "bank_deviation").values[0], 5);
  EXPECT_NE(report.verdicts.at(0).verdict, verdict::Verdict::pass);
}

TEST_F(Bank, OfAPairAloneTellsWhatTakesTheStepBack) {
  options = family.probe_options(true, 0, 0);
  const auto paired = run(options);
  const auto bank = bank_of(paired, 9);
  write_bank(bank);
  const auto report = run(options);
  const auto& opposition = test::of_adapters(report, "alignment_opposition").values;
  const auto& statistic = test::of_adapters(report, "bank_statistic").values;
  for (std::size_t n = 0; n < opposition.size(); ++n) {
    EXPECT_FALSE(std::isnan(test::of_adapters(report, "bank_p").values[n]));
    EXPECT_LE(statistic[n], 1);
    EXPECT_NE(report.verdicts.at(n).verdict, verdict::Verdict::incomplete) << report.verdicts[n].reason;
  }
  // A bank that gives alignment gives an error rate to those that do not.
  auto giving = bank;
  for (auto& value : giving.of_adapters.front().values) value -= 0.9;
  write_bank(giving);
  const auto taking = run(options);
  EXPECT_EQ(test::of_adapters(taking, "bank_statistic").values[0], 1);
  EXPECT_THAT(
      taking.verdicts.at(0).reason,
      ::testing::ContainsRegex("cosine -?[0-9.e-]+ with what takes the alignment step back, -?[0-9.e-]+ along it, of "
                               "which the median of the bank is -0.89"));
  EXPECT_EQ(report.bank_numbers.at(0).values, bank.of_adapters.front().values);
  // If alignment changed nothing, a cosine of 0 says nothing: what is there was not compared.
  family.aligned[test::TinyFamily::weight(3)] = family.base[test::TinyFamily::weight(3)];
  auto untouched = family.probe_options(true, 0, 0);
  untouched.judge.bank = family.directory / "untouched.h5";
  report::write_hdf5(bank_of(run(family.probe_options(true, 0, 0)), 9), untouched.judge.bank);
  const auto partly = run(untouched);
  EXPECT_EQ(partly.verdicts.at(0).verdict, verdict::Verdict::incomplete);
  EXPECT_THAT(partly.verdicts[0].reason, HasSubstr("1 module that alignment did not change"));
  // Others' weights: the digests are of what was read.
  auto other = bank;
  other.modules[1].aligned_digest = std::string(32, '1');
  write_bank(other);
  expect_refused(options, ErrorKind::invalid_input,
                 AllOf(HasSubstr("the bank was compared with other weights"), HasSubstr(other.modules[1].name)));
  other.of_adapters.clear();
  write_bank(other);
  expect_refused(options, ErrorKind::invalid_input, HasSubstr("the bank was not compared with two checkpoints"));
  auto earlier = bank;  // which knew the cosine alone
  earlier.of_adapters.front().name = "alignment_opposition";
  write_bank(earlier);
  expect_refused(
      options, ErrorKind::invalid_input,
      AllOf(HasSubstr("the bank was made by an earlier version"), HasSubstr("the number alignment_against")));
}

TEST_F(Bank, ThatCannotBeComparedWithIsRefused) {
  auto bank = bank_of(plain, 9);
  bank.probes[1].digest = std::string(64, '1');
  write_bank(bank);
  expect_refused(options, ErrorKind::invalid_input,
                 AllOf(HasSubstr("bank.h5"), HasSubstr(options.read.probes[1].path)));
  write_bank(bank_of(plain, 7));
  expect_refused(options, ErrorKind::invalid_input, HasSubstr("8 harmless adapters at least, found 7"));
  bank = bank_of(plain, 9);
  bank.adapters[0].status = bank.adapters[1].status = "quarantined";
  write_bank(bank);
  expect_refused(options, ErrorKind::invalid_input, HasSubstr("found 7"));
  options.judge.bank = family.directory / "absent.h5";
  expect_refused(options, ErrorKind::runtime, HasSubstr("absent.h5"));
}

TEST_F(Bank, PartsAreMergedIfTheyHaveTheSame) {
  options.means.backend = compute::Backend::reference;
  write_bank(bank_of(plain, 9));
  auto first = options, second = options;
  first.read.adapters.resize(1);
  second.read.adapters.erase(second.read.adapters.begin());
  const auto whole = run(options), one = run(first), two = run(second);
  const auto merged = merge_reports({{"a.h5", one}, {"b.h5", two}}, {});
  EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole));
  EXPECT_EQ(merged.bank, whole.bank);
  write_bank(bank_of(plain, 10));
  const auto other = run(second);
  expect_error(ErrorKind::invalid_input, AllOf(HasSubstr("b.h5"), HasSubstr("the bank of a.h5")), [&] {
    merge_reports({{"a.h5", one}, {"b.h5", other}}, {});
  });
}

}  // namespace
}  // namespace winnow::pipeline
