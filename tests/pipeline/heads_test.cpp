// Audits with --heads on one rank: every head against dense matrices, what has no heads, what cannot be asked for,
// journals, caches, merges. Any number of ranks: tests/mpi/heads_test.cpp.
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
#include "input/head_family.hpp"
#include "mpi/report_fingerprint.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/pipeline/merge.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using run::AuditOptions;
using test::expect_error;
using test::HeadFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Heads : public ::testing::Test {
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

  HeadFamily family;
  std::string said;
};

TEST_F(Heads, EqualDenseMatricesWithAndWithoutThePairOnEveryBackend) {
  for (const auto backend : test::built_backends()) {
    for (const bool transposed : {false, true}) {
      for (const bool pair : {true, false}) {
        for (const auto& [directions, adapters] : {std::pair{2, 2}, {1, 0}, {0, 1}}) {
          if (transposed && !pair && directions > 0 && adapters > 0) continue;  // nothing tells which way round
          SCOPED_TRACE(testing::Message() << compute::name(backend) << (pair ? " with" : " without") << " a pair, "
                                          << directions << " directions, " << adapters << " adapters"
                                          << (transposed ? ", stored the other way round" : ""));
          HeadFamily mine;
          mine.transposed = transposed;
          mine.base_model = mine.write_weights("named-base", mine.base);
          auto options = mine.options(pair, directions, adapters);
          options.means.backend = backend;
          const auto report = run(options);
          expect_heads(report, mine);
          EXPECT_TRUE(report.heads->headless.empty());
          EXPECT_EQ(std::get<std::string>(report.attributes.at("heads")), "4 heads of 3, 2 of keys and values");
          EXPECT_THAT(said, Not(HasSubstr("--heads")));
        }
      }
    }
  }
}

TEST_F(Heads, ChangeNothingElseAndAreNotThereIfNobodyAsks) {
  for (const auto backend : test::built_backends()) {
    auto options = family.options(true);
    options.means.backend = backend;
    const auto with = run(options);
    options.measure.heads = false;
    const auto without = run(options);
    EXPECT_FALSE(without.heads);
    EXPECT_EQ(without.attributes.count("heads"), 0U);
    EXPECT_EQ(with.modules, without.modules);
    ASSERT_EQ(with.probe_dots.size(), without.probe_dots.size());
    for (std::size_t cell = 0; cell < with.probe_dots.size(); ++cell) {
      const double x = with.probe_dots[cell], y = without.probe_dots[cell];
      EXPECT_TRUE(std::abs(x - y) < 1e-7 || (std::isnan(x) && std::isnan(y))) << x << " " << y;
    }
  }
}

TEST_F(Heads, AreAlsoOfAllThreadsAndBatches) {
  auto options = family.options(false);
  const auto expected = test::report_fingerprint(run(options));
  for (const int threads : {2, 3, 5}) {
    options.means.threads = threads;
    EXPECT_EQ(test::report_fingerprint(run(options)), expected) << threads;
  }
}

TEST_F(Heads, WhatIsNoProjectionOfThatManyHeadsIsLeftOutAndNamed) {
  family.config = R"({"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 3})";  // k and v have two
  auto options = family.options(false, 1, 1);
  auto report = run(options);
  ASSERT_TRUE(report.heads);
  ASSERT_EQ(report.heads->headless.size(), 6U);
  EXPECT_EQ(report.heads->headless[0].module, "model.layers.0.self_attn.k_proj");
  EXPECT_EQ(report.heads->headless[0].reason, "has 6 outputs, which are not 1 heads of 3");
  EXPECT_THAT(said, HasSubstr("--heads: 6 of 12 modules of attention are in no head, the first: "
                              "model.layers.0.self_attn.k_proj has 6 outputs"));
  family.config = R"({"num_attention_heads": 5, "head_dim": 7})";  // none fits
  report = run(family.options(false, 1, 1));
  ASSERT_TRUE(report.heads);
  EXPECT_TRUE(report.heads->attention.empty());
  EXPECT_TRUE(report.heads->dots.empty());
  EXPECT_EQ(report.heads->headless.size(), 12U);
  EXPECT_THAT(said, HasSubstr("12 of 12 modules"));
}

TEST_F(Heads, OfAWeightThatIsShippedAsAWholeAreUnknownAndThatIsSaid) {
  run(family.options(true, 1, 1));
  EXPECT_THAT(said, Not(HasSubstr("--heads")));
  family.zoo[2]["base_model.model." + HeadFamily::weight(2, HeadFamily::kKinds[0])] =
      test::Matrix::random(HeadFamily::kHeads * HeadFamily::kWidth, HeadFamily::kHidden, 99);
  const auto options = family.options(true, 1, 1);
  family.directory.write("zoo-2/adapter_config.json", R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4,
      "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"], "exclude_modules": ["layers.2.self_attn.q_proj"]})");
  run(options);
  EXPECT_THAT(said, HasSubstr("--heads: 1 whole weight or DoRA layer of attention is in no head, the first: "
                              "model.layers.2.self_attn.q_proj of adapter zoo-2"));
}

TEST_F(Heads, WithoutAProbeOrACountOfHeadsAreRefusedInOneLine) {
  auto options = family.options(true, 0, 0);
  expect_refused(options, ErrorKind::usage, HasSubstr("--heads says nothing without a probe"));
  family.config = R"({"model_type": "llama"})";
  expect_refused(family.options(true), ErrorKind::invalid_input,
                 AllOf(HasSubstr("nothing tells how many attention heads"), HasSubstr("base/config.json"),
                       HasSubstr("num_attention_heads")));
  expect_refused(family.options(false, 1, 1), ErrorKind::invalid_input, HasSubstr("direction-0/config.json"));
  expect_refused(family.options(false, 0, 1), ErrorKind::invalid_input, HasSubstr("a base model with config.json"));
  expect_error(ErrorKind::invalid_input, HasSubstr("nothing tells"), [&] { prepare(family.options(false), {}); });
  family.config = R"({"num_attention_heads": [4, 4], "head_dim": 3})";  // differ from layer to layer
  expect_refused(family.options(true), ErrorKind::invalid_input, HasSubstr("nothing tells"));
  options = family.options(true);
  options.measure.heads = false;
  EXPECT_NO_THROW(run(options)) << "nobody asked";
}

TEST_F(Heads, AreCountedByWhicheverConfigTells) {
  family.base_model = family.write_weights("named-base", family.base) + "@main";
  const auto options = family.options(true);
  for (const char* silent : {"base", "aligned", "direction-0", "direction-1"}) {
    family.directory.write(std::string(silent) + "/config.json", "{}");
    expect_heads(run(options), family);
  }
}

TEST_F(Heads, OfAProbeWhoseWeightsAreUnusableAreUnknownThere) {
  const auto& q = HeadFamily::kKinds[0];
  family.directions[0][HeadFamily::weight(1, q)].values[7] = std::nanf("");
  const auto report = run(family.options(false, 1, 0));
  family.directions[0].erase(HeadFamily::weight(1, q));  // the rest of that layer counts
  expect_heads(report, family);
}

TEST_F(Heads, OfAnAdapterWithoutSumsInAModuleOrWithNoFiniteFactorAreUnknown) {
  family.zoo[0][HeadFamily::key(1, HeadFamily::kKinds[2], "lora_B")].values[3] = std::nanf("");
  const auto report = run(family.options(false, 1, 1));
  EXPECT_EQ(report.adapters[0].status, "quarantined");
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::size_t cell = 0; cell < 12; ++cell) {
      EXPECT_TRUE(std::isnan(report.heads->dots[k * 36 + cell]));
      EXPECT_TRUE(std::isfinite(report.heads->dots[k * 36 + 12 + cell]));
    }
  }
}

TEST_F(Heads, OfTheProbeItselfThatIsSafeAreUnknownAsItsProductsAre) {
  family.zoo[0] = family.probe_adapters[1];  // safe
  family.base_model = family.write_weights("named-base", family.base);
  const auto report = run(family.options(false, 0, 2));
  const auto cells = 12U;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    EXPECT_TRUE(std::isfinite(report.heads->dots[cell]));
    EXPECT_TRUE(std::isnan(report.heads->dots[3 * cells + cell]));
  }
}

TEST_F(Heads, AJournalGoesOnWithTheSameOnesAndIsNotOneWithoutThem) {
  for (const auto backend : test::built_backends()) {
    auto options = family.options(false);
    options.means.backend = backend;
    const auto whole = run(options);
    options.journal.directory = family.directory / ("journal-" + std::string(compute::name(backend)));
    auto failing = options;
    failing.progress = [](const run::Progress& progress) {
      if (progress.modules_done >= 17) throw Error(ErrorKind::runtime, "failed on purpose");
    };
    EXPECT_THROW(run(failing), Error);
    options.journal.resume = true;
    const auto resumed = run(options);
    EXPECT_GE(std::get<std::int64_t>(resumed.attributes.at("resumed_modules")), 17);
    EXPECT_EQ(test::report_fingerprint(resumed), test::report_fingerprint(whole));
    expect_heads(resumed, family);
    options.measure.heads = false;
    expect_refused(options, ErrorKind::usage,
                   AllOf(HasSubstr("the journal is of other inputs or options"),
                         HasSubstr("heads: 4 heads of 3, 2 of keys and values then, none now")));
  }
}

TEST_F(Heads, OfACacheAreThoseThatWereComputedAndOneWithoutThemKnowsNone) {
  for (const auto backend : test::built_backends()) {
    auto options = family.options(true);
    options.means.backend = backend;
    const auto expected = test::report_fingerprint(run(options));
    options.journal.cache = family.directory / ("cache-" + std::string(compute::name(backend)));
    auto without = options;
    without.measure.heads = false;
    const auto plain = test::report_fingerprint(run(without));
    EXPECT_EQ(test::report_fingerprint(run(options)), expected);
    EXPECT_THAT(said, HasSubstr("0 of"));
    const auto again = run(options);
    EXPECT_GT(std::get<std::int64_t>(again.attributes.at("cached_layers")), 0);
    EXPECT_THAT(said, Not(HasSubstr("0 of")));
    EXPECT_EQ(test::report_fingerprint(again), expected);
    expect_heads(again, family);
    const auto known = run(without);
    EXPECT_FALSE(known.heads);
    EXPECT_EQ(test::report_fingerprint(known), plain);
  }
}

TEST_F(Heads, OfPartsAreThoseOfOneAudit) {
  const auto options = family.options(false);
  const auto whole = run(options);
  std::vector<ReportPart> parts;
  for (std::size_t n = 0; n < 3; ++n) {
    auto one = options;
    one.read.adapters = {options.read.adapters[n]};
    one.write.report = family.directory / ("part-" + std::to_string(n) + ".h5");
    run(one);
    parts.push_back({one.write.report, report::read_hdf5(one.write.report)});
  }
  const auto merged = merge_reports(parts, {});
  expect_heads(merged, family);
  EXPECT_EQ(merged.heads->attention, whole.heads->attention);
  // Bit for bit what the parts have, wherever a part's layers are now: the third adapter has no layer 2.
  ASSERT_EQ(parts[2].report.heads->attention.size(), 2U);
  for (std::size_t k = 0; k < 4; ++k) {
    for (std::size_t cell = 0; cell < 8; ++cell) {
      const double found = merged.heads->dots[(k * 3 + 2) * 12 + cell],
                   part = parts[2].report.heads->dots[k * 8 + cell];
      EXPECT_TRUE(found == part || (std::isnan(found) && std::isnan(part)));
    }
    for (std::size_t cell = 8; cell < 12; ++cell) EXPECT_TRUE(std::isnan(merged.heads->dots[(k * 3 + 2) * 12 + cell]));
  }
  auto turned = parts;
  std::reverse(turned.begin(), turned.end());
  EXPECT_EQ(merge_reports(turned, {}).heads->attention, merged.heads->attention);

  auto without = parts;
  without[1].report.heads.reset();
  expect_error(ErrorKind::invalid_input,
               AllOf(HasSubstr("not parts of one audit"), HasSubstr("part-1.h5"),
                     HasSubstr("heads 4 heads of 3, 2 of keys and values"), HasSubstr("found none")),
               [&] { merge_reports(without, {}); });
}

}  // namespace
}  // namespace winnow::pipeline
