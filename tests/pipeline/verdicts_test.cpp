// Verdicts of whole audits and of merges. The rules by themselves: tests/verdict.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "input/probe_family.hpp"
#include "judge/probe_bank.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/pipeline/merge.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::pipeline {
namespace {

using base::ErrorKind;
using run::AuditOptions;
using test::expect_error;
using test::Matrix;
using test::ProbeFamily;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using verdict::Verdict;

/// The last of three adapters runs along the harmful probe adapter, with a cosine of 0.96, and is not that probe.
class Verdicts : public ::testing::Test {
 protected:
  Verdicts() {
    family.zoo[2] = family.probe_adapters[0];
    unsigned seed = 900;
    for (auto& [name, matrix] : family.zoo[2]) {
      const auto noise = Matrix::random(matrix.rows, matrix.columns, seed++);
      for (std::size_t k = 0; k < matrix.values.size(); ++k)
        matrix.values[k] = 1.5F * (matrix.values[k] + 0.2F * noise.values[k]);
    }
    options = family.probe_options(false);
  }

  static report::Report run(const AuditOptions& options) { return audit(options, *comm::make_self(), {}).report; }

  /// With a bank whose cosines are as spread as those of ordinary adapters.
  void with_bank(std::size_t members) {
    auto plain = options;
    plain.judge.bank.clear();
    options.judge.bank = family.directory / ("bank-" + std::to_string(members) + ".h5");
    const auto half = static_cast<double>(members) / 2;
    report::write_hdf5(test::bank_of(run(plain), members, 0.2 / half, half), options.judge.bank);
  }

  /// Writes the family anew, with the bank as it is.
  void rewrite(int directions = 2, int adapters = 2) {
    const auto bank = options.judge.bank;
    options = family.probe_options(false, directions, adapters);
    options.judge.bank = bank;
  }

  ProbeFamily family;
  AuditOptions options;
};

std::vector<Verdict> of(const report::Report& report) {
  std::vector<Verdict> all;
  for (const auto& judgement : report.verdicts) all.push_back(judgement.verdict);
  return all;
}

TEST_F(Verdicts, NeedABank) {
  const auto report = run(options);
  EXPECT_TRUE(report.verdicts.empty());
  EXPECT_EQ(report.false_discovery_rate, 0);
  EXPECT_FALSE(report::has_findings(report));
  EXPECT_THAT(report::verdict_summary(report), AllOf(HasSubstr("no verdicts"), HasSubstr("without --bank REPORT.h5")));
}

TEST_F(Verdicts, BlockWhatRunsAlongAProbe) {
  with_bank(59);
  const auto report = run(options);
  EXPECT_EQ(of(report), (std::vector{Verdict::pass, Verdict::pass, Verdict::block}));
  EXPECT_EQ(report.false_discovery_rate, 0.05);
  EXPECT_THAT(report.verdicts[2].reason,
              AllOf(HasSubstr("bank_p 0.0167"), HasSubstr("cosine 0.96"), HasSubstr("with the harmful probe"),
                    HasSubstr("median of the bank"), HasSubstr("a false discovery rate of 5 % among 3 adapters")));
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("not unusual at 5 %"));
  EXPECT_TRUE(report::has_findings(report));
  EXPECT_EQ(report::verdict_summary(report), "1 of 3 adapters did not pass: block 1, review 0, incomplete 0, pass 2");
  for (const double p : test::of_adapters(report, "bank_p").values) EXPECT_GE(p, 1.0 / 60);
}

TEST_F(Verdicts, ABankTooSmallForTheZooLeavesItForReview) {
  with_bank(58);
  EXPECT_EQ(of(run(options)), (std::vector{Verdict::pass, Verdict::pass, Verdict::review}));
  options.judge.false_discovery_rate = 0.06;
  EXPECT_EQ(of(run(options))[2], Verdict::block);
}

TEST_F(Verdicts, ABankThatCanBlockNothing) {
  with_bank(18);
  const auto report = run(options);
  EXPECT_EQ(of(report)[2], Verdict::review);
  EXPECT_FALSE(report::has_findings(report));
  EXPECT_THAT(report::verdict_claim(report), HasSubstr("a bank of 18 cannot claim a rate of 5 %"));
  EXPECT_EQ(report::unblocked_warning(report), "") << "what the bank cannot claim is said before";
  options.judge.false_discovery_rate = 0.2;
  EXPECT_EQ(of(run(options))[2], Verdict::block);
}

// What needs no bank is found with any; what the bank cannot claim is said, once.
TEST_F(Verdicts, ASmallBankIsToldOfAndEndsNothing) {
  with_bank(10);
  std::vector<std::string> warnings;
  const base::Log log([&](base::LogLevel, std::string_view text) { warnings.emplace_back(text); });
  const auto told = [&](const AuditOptions& these) {
    warnings.clear();
    return audit(these, *comm::make_self(), log).report;
  };
  options.judge.tells_of_small_bank = true;
  auto report = told(options);
  EXPECT_EQ(of(report)[2], Verdict::review);
  EXPECT_FALSE(report::has_findings(report));
  EXPECT_THAT(warnings, ::testing::ElementsAre(
                            AllOf(HasSubstr("a bank of 10 can block nothing at 5 % (19 harmless adapters at least)"),
                                  HasSubstr("bank-10.h5"), Not(HasSubstr("\n")))));
  report.metrics.push_back({"ablation", "1", "", std::vector<double>(3 * report.modules.size(), 0.95), ""});
  EXPECT_TRUE(report::has_findings(report)) << "an ablation";
  options.read.adapters[0] = options.read.probes[2].path;
  EXPECT_TRUE(report::has_findings(told(options))) << "a harmful probe itself";
  options.judge.false_discovery_rate = 0.1;
  told(options);
  EXPECT_THAT(warnings, ::testing::IsEmpty());
}

TEST_F(Verdicts, ARateThatIsNoneIsRefused) {
  for (const double rate : {0.0, 1.0, -0.1, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    options.judge.false_discovery_rate = rate;
    expect_error(ErrorKind::usage, AllOf(HasSubstr("--fdr"), HasSubstr("from 1e-6 to below 1")), [&] { run(options); });
  }
}

TEST_F(Verdicts, AQuarantinedAdapterIsIncomplete) {
  with_bank(59);
  family.zoo[0][TinyFamily::key(1, "lora_A")].values[0] = std::nanf("");
  rewrite();
  const auto report = run(options);
  EXPECT_EQ(report.adapters[0].status, "quarantined");
  EXPECT_EQ(of(report), (std::vector{Verdict::incomplete, Verdict::pass, Verdict::block}));
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("it is quarantined"));
}

TEST_F(Verdicts, ModulesThatMatchNothingAreIncompleteAndHarmStillBlocks) {
  with_bank(59);
  for (const int n : {0, 2}) {
    for (const char* factor : {"lora_A", "lora_B"}) {
      family.zoo[n]["base_model.model.vision.up_proj." + std::string(factor) + ".weight"] =
          factor[5] == 'A' ? Matrix::random(2, 10, 1) : Matrix::random(12, 2, 2);
    }
  }
  rewrite();
  const auto report = run(options);
  EXPECT_EQ(of(report), (std::vector{Verdict::incomplete, Verdict::pass, Verdict::block}));
  for (const int n : {0, 2}) EXPECT_THAT(report.verdicts[n].reason, HasSubstr("not judged: 1 module ("));
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("the rest: bank_p"));
}

TEST_F(Verdicts, WholeWeightsThatItShipsAreIncomplete) {
  with_bank(59);
  const std::string head = "base_model.model.lm_head.modules_to_save.weight";
  family.zoo[1][head] = Matrix::random(3, 10, 1);
  family.zoo[0]["base_model.model.model.layers.0.mlp.up_proj.base_layer.bias"] = Matrix::random(1, 12, 1);
  rewrite();
  const auto report = run(options);
  EXPECT_EQ(of(report), (std::vector{Verdict::incomplete, Verdict::incomplete, Verdict::block}));
  EXPECT_EQ(report.adapters[1].tensors_not_judged, 1U);
  EXPECT_THAT(report.adapters[1].tensors_skipped, AllOf(HasSubstr("modules_to_save"), HasSubstr(head)));
  EXPECT_THAT(report.verdicts[1].reason, HasSubstr("1 tensor ("));
  EXPECT_EQ(report.adapters[2].tensors_not_judged, 0U);
  for (const int n : {0, 1, 2}) {
    std::uint64_t shipped = 0, factors = 0;
    for (const auto& [key, tensor] : family.zoo[n]) {
      shipped += tensor.values.size();
      if (key.find("lora_") != std::string::npos) factors += tensor.values.size();
    }
    EXPECT_EQ(report.adapters[n].parameters, shipped);
    EXPECT_EQ(report.adapters[n].parameters_judged, factors);
  }
  auto strict = options;
  strict.read.strict = true;
  expect_error(ErrorKind::invalid_input,
               AllOf(HasSubstr("a tensor of the adapter cannot be judged"), HasSubstr("leave out --strict")),
               [&] { run(strict); });
}

TEST_F(Verdicts, WhereAProbeCannotBeReadNothingIsJudged) {
  options = family.probe_options(false, 1, 0);
  with_bank(59);
  family.directions[0][TinyFamily::weight(6)].values[3] = std::nanf("");
  rewrite(1, 0);
  // The bank knows the direction as it was: by content, of which the digest takes a sample.
  auto bank = report::read_hdf5(options.judge.bank);
  auto plain = options;
  plain.judge.bank.clear();
  bank.probes[0].digest = run(plain).probes[0].digest;
  report::write_hdf5(bank, options.judge.bank);
  const auto report = run(options);
  EXPECT_EQ(of(report)[0], Verdict::incomplete);
  EXPECT_EQ(of(report)[1], Verdict::pass) << "it has nothing in that module";
  EXPECT_THAT(report.verdicts[0].reason,
              AllOf(HasSubstr("1 module that no probe could be compared with"), HasSubstr(TinyFamily::module(6))));
}

TEST_F(Verdicts, AProbeThatSharesNoModuleIsIncomplete) {
  with_bank(59);
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
    if (layer == 3) continue;
    for (const char* factor : {"lora_A", "lora_B"}) family.zoo[0].erase(TinyFamily::key(layer, factor));
  }
  rewrite();
  const auto report = run(options);
  EXPECT_EQ(of(report)[0], Verdict::incomplete) << "the second probe adapter lacks module 3";
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("which has nothing in its modules"));
}

/// The weights of another adapter under a configuration of its own.
std::string with_alpha(const ProbeFamily& family, const std::string& source, const std::string& name, int alpha) {
  const auto path = family.directory / name;
  std::filesystem::copy(source, path);
  family.directory.write(
      name + "/adapter_config.json",
      R"({"peft_type": "LORA", "r": 2, "target_modules": ["up_proj"], "lora_alpha": )" + std::to_string(alpha) + "}");
  return path;
}

// Which needs no bank to be told: an adapter for review that takes a direction out of the weights is no near miss.
TEST(Findings, AnAblationIsOneWhateverItsVerdict) {
  report::Report report;
  report.adapters.resize(1);
  report.modules.resize(2);
  for (const double ablation : {std::nan(""), 0.0, 0.89, 0.9, 1.0}) {
    report.metrics = {{"ablation", "1", "", {0.1, ablation}, ""}};
    report.verdicts.clear();
    EXPECT_FALSE(report::has_findings(report)) << "without verdicts";
    report.verdicts.resize(1);
    for (auto& judgement : report.verdicts) judgement.verdict = Verdict::review;
    EXPECT_EQ(report::has_findings(report), ablation >= 0.9) << ablation;
  }
}

TEST_F(Verdicts, TheWeightsOfAProbeUnderAnotherScaleAreAnotherUpdate) {
  with_bank(59);
  // Of the safe probe the reverse, of the harmful one the reverse.
  options.read.adapters = {with_alpha(family, options.read.probes[3].path, "unsafe", -4),
                           with_alpha(family, options.read.probes[2].path, "harmless", -4)};
  const auto report = run(options);
  EXPECT_NEAR(report.probe_dots.at((3 * 2 + 0) * report.modules.size()) /
                  report.probe_norms.at(3 * report.modules.size()) / report.find_metric("update_norm")->values.at(0),
              -1, 1e-6);
  EXPECT_EQ(report.verdicts[0].verdict, Verdict::block);
  EXPECT_THAT(report.verdicts[0].reason,
              HasSubstr("it is the safe probe probe-1, turned round (cosine -1): do not serve it"));
  EXPECT_THAT(report.verdicts[1].reason, Not(HasSubstr("it is the")));
  EXPECT_EQ(report.verdicts[1].verdict, Verdict::review) << "it may refuse more";
  EXPECT_THAT(report.verdicts[1].reason,
              AllOf(HasSubstr("bank_against_p 0.0167 (cosine -1 with the harmful probe probe-0)"),
                    HasSubstr("by that probe it runs away from harm")));
}

TEST_F(Verdicts, ABankMadeOtherwiseIsRefused) {
  with_bank(59);
  auto other = options;
  other.read.probes[2].path = with_alpha(family, options.read.probes[2].path, "scaled", 400);
  winnow::test::expect_error(base::ErrorKind::invalid_input,
                             HasSubstr("the bank was not compared with one of the probes"), [&] { run(other); });
  auto bank = report::read_hdf5(options.judge.bank);
  bank.attributes["scaling"] = std::string("none");
  report::write_hdf5(bank, options.judge.bank);
  winnow::test::expect_error(base::ErrorKind::invalid_input,
                             HasSubstr("the adapters of the bank were scaled otherwise"), [&] { run(options); });
  options.write.report = options.judge.bank;
  winnow::test::expect_error(base::ErrorKind::usage, HasSubstr("--report"), [&] { run(options); });
}

// Of two members each would be measured by the other alone, and of one there is no spread.
TEST_F(Verdicts, ABankOfWhichFewHaveTheModulesOfAProbeIsRefused) {
  with_bank(59);
  auto bank = report::read_hdf5(options.judge.bank);
  const auto cells = bank.adapters.size() * bank.modules.size();
  const auto forget_from = [&](std::size_t member) {
    std::fill(bank.probe_dots.begin() + static_cast<std::ptrdiff_t>(2 * cells + member * bank.modules.size()),
              bank.probe_dots.begin() + static_cast<std::ptrdiff_t>(3 * cells), std::nan(""));
    report::write_hdf5(bank, options.judge.bank);
  };
  forget_from(8);
  EXPECT_NO_THROW(run(options));
  forget_from(7);
  expect_error(ErrorKind::invalid_input,
               AllOf(HasSubstr("too few adapters of the bank share a module with one of the probes"),
                     HasSubstr("bank-59.h5"), HasSubstr("expected 8 of its 59 adapters at least"),
                     HasSubstr("probe-0, found 7"), HasSubstr("leave the probe out")),
               [&] { run(options); });
}

TEST_F(Verdicts, AProbeThatIsAuditedItself) {
  with_bank(59);
  options.read.adapters.push_back(options.read.probes[2].path);
  options.read.adapters.push_back(options.read.probes[3].path);
  auto report = run(options);
  EXPECT_EQ(report.verdicts[3].verdict, Verdict::block);
  EXPECT_THAT(report.verdicts[3].reason, HasSubstr("it is the harmful probe probe-0 itself"));
  EXPECT_THAT(report.verdicts[4].reason, Not(HasSubstr("itself"))) << "a safe one, judged by the others";
  auto alone = options;
  alone.read.probes = {options.read.probes[2]};
  alone.read.adapters.erase(alone.read.adapters.begin());
  alone.judge.bank.clear();
  options = alone;
  with_bank(59);
  EXPECT_THAT(run(options).verdicts[2].reason,
              AllOf(HasSubstr("it is the harmful probe probe-0 itself: do not serve it"), HasSubstr("cosine 1")));
  options = family.probe_options(false, 0, 2);
  options.read.probes.erase(options.read.probes.begin());
  options.read.adapters = {options.read.probes[0].path};
  options.write.slice = true;  // that nothing could be scored is no failure
  with_bank(59);
  report = run(options);
  EXPECT_EQ(of(report), std::vector{Verdict::incomplete});
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("it is the only probe"));
}

// The same update in other factors has another digest. A small bank can block nothing by p.
TEST_F(Verdicts, AHarmfulProbeStoredInAnotherWayIsBlockedByAnyBank) {
  for (auto& [name, matrix] : family.zoo[0] = family.probe_adapters[0]) {
    for (auto& value : matrix.values) value *= name.find("lora_A") != std::string::npos ? -0.25F : -8.0F;
  }
  rewrite();
  with_bank(8);
  const auto report = run(options);
  EXPECT_EQ(of(report), (std::vector{Verdict::block, Verdict::pass, Verdict::review}));
  EXPECT_THAT(report.verdicts[0].reason,
              HasSubstr("it is the harmful probe probe-0, stored in another way (cosine 1): do not serve it"));
  EXPECT_TRUE(report::has_findings(report));
}

// A zoo that was audited whole is a bank with the probe in it.
TEST_F(Verdicts, AHarmfulProbeIsNoMemberOfABank) {
  const auto plain = run(options);
  auto bank = test::bank_of(plain, 59, 0.2 / 29.5, 29.5);
  bank.adapters[7].digest = plain.probes[2].digest;  // harmful
  bank.adapters[8].digest = plain.probes[3].digest;  // safe
  // Stored in another way it is known by its cosine.
  const auto modules = bank.modules.size(), cells = bank.adapters.size() * modules;
  for (std::size_t m = 0; m < modules; ++m) {
    const double norm = bank.probe_norms[2 * modules + m];
    bank.metrics.front().values[9 * modules + m] = norm;
    bank.probe_dots[2 * cells + 9 * modules + m] = norm * norm;
  }
  options.judge.bank = family.directory / "bank-with-probes.h5";
  report::write_hdf5(bank, options.judge.bank);
  const auto report = run(options);
  ASSERT_EQ(report.bank.size(), 57U);
  for (const auto& member : report.bank) EXPECT_NE(member.digest, plain.probes[2].digest);
}

TEST_F(Verdicts, AMergeJudgesTheWholeZooAnew) {
  options.means.backend = compute::Backend::reference;
  with_bank(30);
  auto first = options, second = options;
  first.read.adapters.resize(2);
  second.read.adapters.erase(second.read.adapters.begin(), second.read.adapters.begin() + 2);
  const auto whole = run(options), one = run(first), two = run(second);
  EXPECT_EQ(of(two), std::vector{Verdict::block}) << "alone it is found by a bank of 19 already";
  EXPECT_EQ(of(whole)[2], Verdict::review) << "of three it takes 59";
  const auto merged = merge_reports({{"a.h5", one}, {"b.h5", two}}, {});
  EXPECT_EQ(merged.verdicts, whole.verdicts);
  EXPECT_EQ(merged.false_discovery_rate, 0.05);
  second.judge.false_discovery_rate = 0.1;
  const auto other = run(second);
  expect_error(ErrorKind::invalid_input, AllOf(HasSubstr("b.h5"), HasSubstr("fdr 0.05 as in a.h5, found 0.1")), [&] {
    merge_reports({{"a.h5", one}, {"b.h5", other}}, {});
  });
  first.judge.false_discovery_rate = 0.1;
  EXPECT_EQ(merge_reports({{"a.h5", run(first)}, {"b.h5", other}}, {}).false_discovery_rate, 0.1);
}

TEST_F(Verdicts, AMergeOfReportsThatHaveNoneYetJudges) {
  with_bank(59);
  auto older = run(options);
  const auto verdicts = std::exchange(older.verdicts, {});
  older.false_discovery_rate = 0;
  EXPECT_THAT(report::verdict_summary(older), HasSubstr("made by an earlier version"));
  EXPECT_EQ(merge_reports({{"a.h5", older}}, {}).verdicts, verdicts);
}

}  // namespace
}  // namespace winnow::pipeline
