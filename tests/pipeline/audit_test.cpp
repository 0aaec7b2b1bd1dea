// What an audit does if something is undefined, missing or odd, on one rank. Values are held by tests/mpi/golden.
#include "winnow/pipeline/audit.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "base/expect_error.hpp"
#include "compute/built_backend.hpp"
#include "input/tiny_family.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/forecast/plan.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;
using run::AuditOptions;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Runs on one rank and collects what is said.
class Audit : public ::testing::Test {
 protected:
  report::Report run(const AuditOptions& options) {
    const auto world = comm::make_self();
    return audit(options, *world, base::Log([this](base::LogLevel, std::string_view text) {
                   said += text;
                   said += '\n';
                 }))
        .report;
  }

  Error error_of(const AuditOptions& options) {
    try {
      run(options);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "nothing thrown";
    return {ErrorKind::usage, ""};
  }

  static double value(const report::Report& report, const char* metric, std::size_t n, std::size_t m) {
    return report.find_metric(metric)->values[n * report.modules.size() + m];
  }

  TinyFamily family;
  std::string said;
};

TEST_F(Audit, ScoresEveryLayerInLayerOrder) {
  const auto report = run(family.options({family.write_adapter("one", TinyFamily::adapter(1))}));
  ASSERT_EQ(report.modules.size(), std::size_t{TinyFamily::kLayers});
  for (int m = 0; m < TinyFamily::kLayers; ++m) {
    EXPECT_EQ(report.modules[static_cast<std::size_t>(m)].name, TinyFamily::module(m));
    EXPECT_TRUE(std::isfinite(value(report, "ediem", 0, static_cast<std::size_t>(m))));
  }
  EXPECT_EQ(report.adapters.at(0).scaling, 2.0);
  EXPECT_EQ(said, "");
}

TEST_F(Audit, AModuleWithoutAlignmentSignalIsFlaggedAndScoredAsUntouched) {
  family.aligned[TinyFamily::weight(3)] = family.base[TinyFamily::weight(3)];
  const auto report = run(family.options({family.write_adapter("one", TinyFamily::adapter(1))}));
  EXPECT_EQ(report.modules[3].flags, report::kNoAlignmentSignal);
  EXPECT_EQ(report.modules[3].alignment_norm, 0);
  EXPECT_EQ(value(report, "cosine", 0, 3), 0);
  EXPECT_EQ(value(report, "projected_norm", 0, 3), 0);
  EXPECT_DOUBLE_EQ(value(report, "distance", 0, 3), value(report, "update_norm", 0, 3));
  EXPECT_TRUE(std::isnan(value(report, "subspace_energy", 0, 3)));
  EXPECT_TRUE(std::isfinite(value(report, "misalignment", 0, 3)));
  EXPECT_EQ(report.modules[2].flags, 0U);
}

TEST_F(Audit, ALayerWithoutAnUpdateScoresZeroDistance) {
  auto tensors = TinyFamily::adapter(1);
  std::fill(tensors[TinyFamily::key(2, "lora_B")].values.begin(), tensors[TinyFamily::key(2, "lora_B")].values.end(),
            0.0F);
  const auto report = run(family.options({family.write_adapter("one", tensors)}));
  for (const char* metric : {"distance", "update_norm", "cosine", "alignment_cosine", "alignment_removed"}) {
    EXPECT_EQ(value(report, metric, 0, 2), 0) << metric;
  }
  EXPECT_LT(value(report, "ediem", 0, 2), 0) << "closer to the alignment direction than its peers";
  EXPECT_TRUE(std::isnan(value(report, "misalignment", 0, 2)));
}

TEST_F(Audit, AWeightThatIsNotFiniteIsNamedAndItsModuleNeverPruned) {
  family.aligned[TinyFamily::weight(5)].values[17] = std::nanf("");
  auto options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
  options.judge.policy = {select::Policy::Kind::prune_top, 8};
  const auto report = run(options);
  EXPECT_EQ(report.modules[5].flags, report::kNonFinite);
  EXPECT_TRUE(std::isnan(value(report, "ediem", 0, 5)));
  EXPECT_EQ(report.action[5], report::Action::none);
  EXPECT_EQ(std::count(report.action.begin(), report.action.end(), report::Action::prune), 7);
  EXPECT_THAT(said, HasSubstr("tensor model.layers.5.mlp.up_proj.weight, row 1, column 7"));
  EXPECT_THAT(said, HasSubstr("aligned/model.safetensors"));
  EXPECT_THAT(
      said,
      HasSubstr("could not be scored by ediem: not judged and not pruned, the first is model.layers.5.mlp.up_proj"));
}

TEST_F(Audit, AWeightThatIsHugeIsNamedOnEveryBackendAndItsModuleNeverPruned) {
  const std::string adapter = family.write_adapter("one", TinyFamily::adapter(1));
  for (const float huge : {0x1.FEp63F, -3.39e38F, 1e18F}) {  // 0x5f7f in bfloat16, 0xff7f, and what V^2 still holds
    family.base[TinyFamily::weight(5)].values[17] = huge;
    for (const auto backend : test::built_backends()) {
      auto options = family.options({adapter});
      options.means.backend = backend;
      options.judge.policy = {select::Policy::Kind::prune_top, 8};
      said.clear();
      const auto report = run(options);
      EXPECT_EQ(report.modules[5].flags, report::kOutOfRange);
      EXPECT_TRUE(std::isnan(report.modules[5].alignment_norm));
      EXPECT_TRUE(std::isnan(value(report, "distance", 0, 5)));
      EXPECT_TRUE(std::isnan(value(report, "ediem", 0, 5)));
      EXPECT_EQ(report.action[5], report::Action::none);
      EXPECT_EQ(std::count(report.action.begin(), report.action.end(), report::Action::prune), 7);
      EXPECT_THAT(said, AllOf(HasSubstr("is out of range"), HasSubstr("base/model.safetensors"),
                              HasSubstr("tensor model.layers.5.mlp.up_proj.weight, row 1, column 7")));
    }
  }
}

TEST_F(Audit, AStepTooSmallToComputeWithIsFlaggedForWhatItIsOnEveryBackend) {
  auto& base = family.base[TinyFamily::weight(3)];
  std::fill(base.values.begin(), base.values.end(), 0.0F);
  auto& aligned = family.aligned[TinyFamily::weight(3)] = base;
  aligned.values[7] = 1e-25F;
  for (const auto backend : test::built_backends()) {
    auto options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
    options.means.backend = backend;
    said.clear();
    const auto report = run(options);
    EXPECT_EQ(report.modules[3].flags, report::kOutOfRange);
    EXPECT_NEAR(report.modules[3].alignment_norm, 1e-25, 1e-31);
    EXPECT_TRUE(std::isnan(value(report, "distance", 0, 3)));
    EXPECT_EQ(report.action[3], report::Action::none);
    EXPECT_THAT(said, AllOf(HasSubstr("too small to compute with"), HasSubstr("model.layers.3.mlp.up_proj.weight"),
                            HasSubstr("1e-25")));
  }
}

// Factors of 1e30 and of 1e-30: what they stand for is ordinary, or it is huge, and then it is scored as that.
TEST_F(Audit, FactorsOfEverySizeAreScoredAsTheReferenceScoresThem) {
  const auto scaled = [&](float a, float b) {
    auto tensors = TinyFamily::adapter(1);
    for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
      for (auto& x : tensors[TinyFamily::key(layer, "lora_A")].values) x *= a;
      for (auto& x : tensors[TinyFamily::key(layer, "lora_B")].values) x *= b;
    }
    return tensors;
  };
  const std::vector<std::string> adapters{family.write_adapter("plain", scaled(1, 1)),
                                          family.write_adapter("wide", scaled(0x1p-100F, 0x1p100F)),
                                          family.write_adapter("huge", scaled(0x1p90F, 0x1p110F)),
                                          family.write_adapter("tiny", scaled(0x1p-30F, 0x1p-100F))};
  for (const auto backend : test::built_backends()) {
    auto options = family.options(adapters);
    options.means.backend = backend;
    options.measure.element_statistics = true;
    const auto report = run(options);
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      EXPECT_EQ(report.modules[m].flags, 0U);
      const std::array<int, 4> exponents{0, 0, 200, -130};
      for (std::size_t n = 0; n < 4; ++n) {
        ASSERT_EQ(report.adapters[n].status, "ok");
        // To the last bit: powers of two change no digit.
        for (const char* metric : {"distance", "update_norm", "projected_norm", "alignment_removed", "update_max"}) {
          EXPECT_EQ(value(report, metric, n, m), std::ldexp(value(report, metric, 0, m), exponents[n])) << metric;
        }
        for (const char* metric : {"cosine", "alignment_cosine", "subspace_energy", "pass_discrepancy"}) {
          EXPECT_EQ(value(report, metric, n, m), value(report, metric, 0, m)) << metric;
        }
      }
    }
  }
}

/// A pass that computes on memory with a fault: a bit of one weight is another in pass 2.
class FaultyPass final : public compute::AlignmentPass {
 public:
  FaultyPass(std::unique_ptr<compute::AlignmentPass> pass, int module) : pass_(std::move(pass)), left_(module) {}

  using AlignmentPass::begin;
  void begin(const compute::FactorStack& stack, const compute::Operand& operand, const compute::Share& share) override {
    --left_;
    pass_->begin(stack, operand, share);
  }
  void pass1(const slab::Slab& slab) override { pass_->pass1(slab); }
  void reduce_pass1(compute::TeamSums& team) override { pass_->reduce_pass1(team); }
  void pass2(const slab::Slab& slab) override {
    if (left_ != -1) return pass_->pass2(slab);
    const auto bytes = slab.rows * slab.columns * base::element_bytes(slab.aligned_dtype);
    std::vector<std::byte> changed(slab.aligned, slab.aligned + bytes);
    changed[23] ^= std::byte{0x02};  // of the exponent of float32
    auto wrong = slab;
    wrong.aligned = changed.data();
    pass_->pass2(wrong);
    pass_->complete();
  }
  void reduce_pass2(compute::TeamSums& team) override { pass_->reduce_pass2(team); }
  stats::ModuleStatistics finish() override { return pass_->finish(); }
  std::vector<double> y(std::size_t adapter) const override { return pass_->y(adapter); }
  std::vector<double> p(std::size_t adapter) const override { return pass_->p(adapter); }
  std::vector<compute::ElementStatistics> element_statistics(const std::function<void()>& between) override {
    return pass_->element_statistics(between);
  }
  std::string description() const override { return pass_->description(); }

 private:
  std::unique_ptr<compute::AlignmentPass> pass_;
  int left_;  // modules before the one with the fault
};

TEST_F(Audit, PassesThatContradictEachOtherAreNoticed) {
  auto options = family.options(
      {family.write_adapter("one", TinyFamily::adapter(1)), family.write_adapter("two", TinyFamily::adapter(2))});
  for (const auto backend : test::built_backends()) {
    options.means.backend = backend;
    options.seams.make_pass = [](const compute::PassOptions& pass) { return compute::make_alignment_pass(pass); };
    said.clear();
    const auto sound = run(options);
    for (const auto& module : sound.modules) EXPECT_EQ(module.flags, 0U);
    EXPECT_THAT(said, Not(HasSubstr("disagree")));

    options.seams.make_pass = [](const compute::PassOptions& pass) {
      return std::make_unique<FaultyPass>(compute::make_alignment_pass(pass), 0);
    };
    said.clear();
    const auto report = run(options);
    std::vector<std::string> flagged;
    for (const auto& module : report.modules) {
      if (module.flags == report::kPassesDisagree) flagged.push_back(module.name);
    }
    ASSERT_EQ(flagged.size(), 1U);
    EXPECT_THAT(said, AllOf(HasSubstr("the two passes over " + flagged[0] + ".weight disagree by "),
                            HasSubstr("for 2 of its adapters"), HasSubstr("do not trust their scores")));
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
  }
}

TEST_F(Audit, AFactorThatIsNotFiniteQuarantinesItsAdapterAlone) {
  auto broken = TinyFamily::adapter(2);
  broken[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;
  const auto good = family.write_adapter("good", TinyFamily::adapter(1));
  const auto bad = family.write_adapter("bad", broken);
  const auto both = run(family.options({bad, good}));
  EXPECT_EQ(both.adapters[0].status, "quarantined");
  EXPECT_THAT(both.adapters[0].reason, HasSubstr("lora_B of model.layers.4.mlp.up_proj is not finite at element 3"));
  EXPECT_EQ(both.adapters[1].status, "ok");
  const auto alone = run(family.options({good}));
  for (std::size_t m = 0; m < alone.modules.size(); ++m) {
    EXPECT_TRUE(std::isnan(value(both, "distance", 0, m)));
    EXPECT_EQ(both.action[m], report::Action::none);
    EXPECT_NEAR(value(both, "distance", 1, m), value(alone, "distance", 0, m), 1e-6);
    EXPECT_NEAR(value(both, "ediem", 1, m), value(alone, "ediem", 0, m), 1e-5);
  }

  auto strict = family.options({bad, good});
  strict.read.strict = true;
  const auto error = error_of(strict);
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("bad/adapter_model.safetensors"));
}

TEST_F(Audit, AnAdapterThatDoesNotFitIsQuarantinedAndSaid) {
  test::Tensors foreign;
  foreign["base_model.model.other.q_proj.lora_A.weight"] = test::Matrix::random(2, 10, 1);
  foreign["base_model.model.other.q_proj.lora_B.weight"] = test::Matrix::random(12, 2, 2);
  const auto path = family.write_adapter("zoo/foreign", foreign);
  auto zoo = family.options({});
  zoo.read.zoo = family.directory / "zoo";
  zoo.write.slice = true;  // else that nothing is scored is an error
  const auto report = run(zoo);
  EXPECT_EQ(report.adapters.at(0).status, "quarantined");
  EXPECT_EQ(report.modules.size(), 0U);
  EXPECT_THAT(said, HasSubstr("adapter foreign is quarantined"));

  zoo.read.strict = true;
  EXPECT_THAT(error_of(zoo).what(), AllOf(HasSubstr("other.q_proj"), HasSubstr("leave out --strict")));

  // Asked for by name, it is a failure; the report is there all the same.
  auto alone = family.options({path});
  alone.write.report = family.directory / "report.h5";
  const auto error = error_of(alone);
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("no adapter could be scored"));
  EXPECT_TRUE(std::filesystem::exists(alone.write.report));
}

TEST_F(Audit, RefusesCheckpointsThatDoNotPair) {
  const auto adapter = family.write_adapter("one", TinyFamily::adapter(1));
  family.aligned.erase(TinyFamily::weight(6));
  EXPECT_STREQ(error_of(family.options({adapter})).tensor().c_str(), "model.layers.6.mlp.up_proj.weight");
  family.aligned[TinyFamily::weight(6)] = test::Matrix::random(10, 12, 1);
  const auto error = error_of(family.options({adapter}));
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("expected [12, 10] as in the base checkpoint, found [10, 12]"));
}

TEST_F(Audit, UnitScalingScalesTheUpdateAlone) {
  auto options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
  const auto peft = run(options);
  options.read.adapter.unit_scale = true;
  const auto unit = run(options);
  for (std::size_t m = 0; m < unit.modules.size(); ++m) {
    EXPECT_NEAR(value(peft, "update_norm", 0, m), 2 * value(unit, "update_norm", 0, m), 1e-9);
    EXPECT_NEAR(value(peft, "cosine", 0, m), value(unit, "cosine", 0, m), 1e-12);
    EXPECT_NEAR(value(peft, "ediem", 0, m), value(unit, "ediem", 0, m), 1e-9) << "insensitive to scale";
  }
}

TEST_F(Audit, WithoutASketchTheOtherMetricsStand) {
  auto options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
  const auto with = run(options);
  options.measure.subspace_rank = 0;
  const auto without = run(options);
  for (std::size_t m = 0; m < without.modules.size(); ++m) {
    EXPECT_TRUE(std::isnan(value(without, "subspace_energy", 0, m)));
    EXPECT_NEAR(value(with, "distance", 0, m), value(without, "distance", 0, m), 1e-6);
    EXPECT_TRUE(std::isfinite(value(without, "misalignment", 0, m)));
  }
}

TEST_F(Audit, ContradictionsInTheOptionsAreUsageErrors) {
  const auto adapter = family.write_adapter("one", TinyFamily::adapter(1));
  const auto expect_usage = [&](auto change, const char* text) {
    auto options = family.options({adapter});
    change(options);
    const auto error = error_of(options);
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.what(), HasSubstr(text));
  };
  expect_usage([](AuditOptions& o) { o.read.adapters.clear(); }, "no adapter given");
  expect_usage([](AuditOptions& o) { o.judge.rank_by = "magic"; },
               "unknown --rank-by magic; expected one of update_norm");
  expect_usage([](AuditOptions& o) { o.judge.rank_by = "diem"; }, "needs element statistics");
  expect_usage([](AuditOptions& o) { o.write.repair = adapter::Repair::drop; }, "--repaired-dir");
  expect_usage([](AuditOptions& o) { o.write.repaired_dir = "x"; }, "--repaired-dir without --repair");
  expect_usage([](AuditOptions& o) { o.judge.rank_by = "subspace_energy", o.measure.subspace_rank = 0; },
               "needs the sketch");
}

// One line for an adapter, one for a kind of fault of the weights, however many modules have it.
TEST_F(Audit, OneWarningTellsOfAllModules) {
  auto broken = TinyFamily::adapter(2);
  broken[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;
  broken[TinyFamily::key(1, "lora_A")].values[9] = std::nanf("");
  broken[TinyFamily::key(6, "lora_A")].values[0] = std::nanf("");
  for (const int layer : {3, 5}) family.aligned[TinyFamily::weight(layer)].values[17] = std::nanf("");
  for (const int layer : {0, 2, 7}) family.aligned[TinyFamily::weight(layer)].values[17] = 1e30F;
  const auto report =
      run(family.options({family.write_adapter("bad", broken), family.write_adapter("good", TinyFamily::adapter(1))}));
  EXPECT_EQ(report.adapters[0].reason,
            "lora_A of model.layers.1.mlp.up_proj is not finite at element 9; and 2 more modules");
  EXPECT_THAT(said,
              AllOf(HasSubstr("adapter bad is quarantined: lora_A of model.layers.1.mlp.up_proj is not finite at "
                              "element 9; and 2 more modules\n"),
                    HasSubstr("tensor model.layers.3.mlp.up_proj.weight, row 1, column 7; and 1 more module\n"),
                    HasSubstr("tensor model.layers.0.mlp.up_proj.weight, row 1, column 7; and 2 more modules\n")));
}

// A script that sees success would take the empty report for a clean zoo.
TEST_F(Audit, OfWhichNothingCouldBeScoredFailsAndItsReportTellsWhy) {
  auto broken = TinyFamily::adapter(2);
  broken[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;
  family.write_adapter("zoo/a", broken);
  auto other = TinyFamily::adapter(3);  // else it would be the same adapter, judged once
  other[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;
  family.write_adapter("zoo/b", other);
  auto options = family.options({});
  options.read.zoo = family.directory / "zoo";
  options.write.report = family.directory / "report.h5";
  const auto error = error_of(options);
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("none of 2 adapters could be scored; the first, a: lora_B of model.layers.4"));
  const auto report = report::read_hdf5(options.write.report);
  ASSERT_EQ(report.adapters.size(), 2U);
  EXPECT_THAT(report.adapters[1].reason, HasSubstr("is not finite at element 3"));

  // Sound adapters, of which the weights let nothing be scored.
  family.write_adapter("zoo/b", TinyFamily::adapter(3));
  for (auto& [name, matrix] : family.aligned) matrix.values[0] = std::nanf("");
  family.options({});  // writes them
  EXPECT_THAT(error_of(options).what(), HasSubstr("none of 2 adapters could be scored; the first, a: "));
  EXPECT_EQ(report::read_hdf5(options.write.report).adapters.at(1).status, "ok");
}

TEST_F(Audit, NothingLeftOfAnAdapterIsSaidAndNotWritten) {
  auto options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
  options.judge.policy = {select::Policy::Kind::keep_top, 0};
  options.write.repair = adapter::Repair::drop;
  options.write.repaired_dir = family.directory / "repaired";
  const auto world = comm::make_self();
  const auto result = audit(options, *world, {});
  ASSERT_EQ(result.repaired.size(), 1U);
  EXPECT_FALSE(result.repaired[0].written);
  EXPECT_FALSE(std::filesystem::exists(family.directory / "repaired/one"));
  EXPECT_THAT(result.report.adapters.at(0).reason, HasSubstr("every LoRA module is pruned"));
}

TEST_F(Audit, NamesWithinEachOtherDoNotNestRepairedAdapters) {
  const auto outer = family.write_adapter("run", TinyFamily::adapter(1));
  const auto inner = family.write_adapter("run/checkpoint-5", TinyFamily::adapter(2));
  const auto other = family.write_adapter("other/checkpoint-5", TinyFamily::adapter(3));
  auto options = family.options({outer, inner, other});
  options.write.repair = adapter::Repair::zero;
  options.write.repaired_dir = family.directory / "repaired";
  const auto world = comm::make_self();
  const auto result = audit(options, *world, {});
  ASSERT_EQ(result.repaired.size(), 3U);
  for (const auto& repaired : result.repaired) {
    EXPECT_EQ(std::filesystem::path(repaired.path).parent_path(), options.write.repaired_dir);
    EXPECT_TRUE(std::filesystem::exists(repaired.path + "/adapter_model.safetensors"));
  }
}

TEST_F(Audit, APlanCountsWhatAnAuditReads) {
  const auto options = family.options({family.write_adapter("one", TinyFamily::adapter(1))});
  const auto world = comm::make_self();
  const auto plan = forecast::plan_audit(options, 3, *world, {});
  std::uint64_t modules = 0, weights = 0, adapters = 0;
  double flops = 0;
  for (const auto& rank : plan.ranks) {
    modules += rank.modules;
    weights += rank.weight_bytes;
    adapters += rank.adapter_bytes;
    flops += rank.flops;
  }
  EXPECT_EQ(modules, 8U);
  EXPECT_EQ(weights, 8U * 2 * 12 * 10 * 4);
  EXPECT_EQ(adapters, 8U * 2 * (12 + 10) * 4);
  EXPECT_EQ(flops, 8 * 4.0 * 12 * 10 * (2 + 10)) << "rank 2 and 10 sketch columns, as many as there are inputs";
  const auto report = run(options);
  std::uint64_t read = 0;
  for (const auto& stage : report.run) read += stage.bytes_read;
  EXPECT_EQ(read, weights + adapters) << "each byte once";
  EXPECT_THAT(forecast::render_plan(plan, {true, false}), HasSubstr("model.layers.7.mlp.up_proj"));
}

// While adapters are opened all headers have been read and nothing else: what is replaced then must show as well.
TEST(Unchanged, FilesReplacedAfterTheirHeadersWereRead) {
  for (const bool shard : {true, false}) {
    const TinyFamily family;
    auto options = family.options(
        {family.write_adapter("one", TinyFamily::adapter(1)), family.write_adapter("two", TinyFamily::adapter(2))});
    const auto file =
        shard ? options.read.aligned + "/model.safetensors" : options.read.adapters[1] + "/adapter_config.json";
    bool replaced = false;
    options.stop.requested = [&] {
      if (!std::exchange(replaced, true)) {
        std::filesystem::copy_file(file, file + ".new");
        std::filesystem::rename(file + ".new", file);
      }
      return false;
    };
    if (shard) {
      test::expect_error(base::ErrorKind::runtime, HasSubstr("file was changed while it was read: " + file),
                         [&] { audit(options, *comm::make_self(), {}); });
    } else {
      const auto report = audit(options, *comm::make_self(), {}).report;
      EXPECT_EQ(report.adapters[0].status, "ok");
      EXPECT_EQ(report.adapters[1].reason, "file was changed while it was read: " + file);
    }
    EXPECT_TRUE(replaced);
  }
}

// Linked to, copied, given by itself and in a zoo: it must not weigh several times.
TEST(Repeated, AnAdapterUnderSeveralNamesIsJudgedOnce) {
  const TinyFamily family;
  auto options = family.options({family.write_adapter("zoo/one", TinyFamily::adapter(1))});
  family.write_adapter("zoo/copy", TinyFamily::adapter(1));
  family.write_adapter("zoo/two", TinyFamily::adapter(2));
  std::filesystem::create_directory_symlink(family.directory / "zoo/two", family.directory / "zoo/link");
  options.read.zoo = family.directory / "zoo";
  std::vector<std::string> said;
  const base::Log log([&](base::LogLevel level, std::string_view text) {
    if (level == base::LogLevel::warning) said.emplace_back(text);
  });
  const auto report = audit(options, *comm::make_self(), log).report;
  ASSERT_EQ(report.adapters.size(), 2U);
  EXPECT_EQ(report.adapters[0].path, options.read.adapters[0]);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_THAT(said[0], HasSubstr("2 adapters have the content of another and are judged once with it"));
  // Not the one that is found by its path as it is.
  EXPECT_EQ(report.copies, (std::vector<report::CopyRow>{{family.directory / "zoo/copy", 0}}));
}

TEST(Repeated, EveryDirectoryIsFoundInTheReportBesideTheAdapterThatWasJudged) {
  const TinyFamily family;
  auto options = family.options({});
  for (const char* name : {"a", "b", "c/checkpoint-7", "e", "f"}) {
    options.read.adapters.push_back(family.write_adapter(name, TinyFamily::adapter(name[0] < 'd' ? 1 : 2)));
  }
  options.read.adapters.insert(options.read.adapters.begin() + 2, family.directory / "absent");
  const auto path = [&](const char* name) -> std::string { return family.directory / name; };
  const auto report = audit(options, *comm::make_self(), {}).report;
  ASSERT_EQ(report.adapters.size(), 3U);
  EXPECT_EQ(report.adapters[1].path, path("c/checkpoint-7")) << "says more than a, of which b was a copy before";
  EXPECT_EQ(report.adapters[2].path, path("e"));
  EXPECT_EQ(report.copies, (std::vector<report::CopyRow>{{path("a"), 1}, {path("b"), 1}, {path("f"), 2}}));
}

TEST(Repeated, OfATrainingRunTheCheckpointsStay) {
  const TinyFamily family;
  auto options = family.options({});
  family.write_adapter("run", TinyFamily::adapter(1));  // saved again at the end, as trainers do
  family.write_adapter("run/checkpoint-1", TinyFamily::adapter(3));
  family.write_adapter("run/checkpoint-2", TinyFamily::adapter(1));
  family.write_adapter("run/checkpoint-3", TinyFamily::adapter(1));  // nothing was learnt
  options.read.zoo = family.directory / "run";
  const auto report = audit(options, *comm::make_self(), {}).report;
  std::vector<std::string> names;
  for (const auto& adapter : report.adapters) names.push_back(adapter.name);
  EXPECT_THAT(names, ::testing::ElementsAre("checkpoint-1", "checkpoint-2", "checkpoint-3"));
  EXPECT_EQ(report.copies, (std::vector<report::CopyRow>{{family.directory / "run", 1}}));
}

// The same weights with another scale are another update.
TEST(Repeated, AnotherScaleIsAnotherAdapter) {
  const TinyFamily family;
  auto options = family.options(
      {family.write_adapter("one", TinyFamily::adapter(1)), family.write_adapter("two", TinyFamily::adapter(1))});
  family.directory.write("two/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["up_proj"]})");
  EXPECT_EQ(audit(options, *comm::make_self(), {}).report.adapters.size(), 2U);
}

}  // namespace
}  // namespace winnow::pipeline
