// Reports of parts of a zoo, merged, against the report of one audit over all of it.
#include "winnow/pipeline/merge.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <random>

#include "base/expect_error.hpp"
#include "input/tiny_family.hpp"
#include "mpi/report_fingerprint.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

using base::ErrorKind;
using run::AuditOptions;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Merge : public ::testing::Test {
 protected:
  Merge() {
    for (unsigned k = 0; k < 5; ++k) {
      auto tensors = TinyFamily::adapter(k + 1);
      // Not all on the same modules: the first knows nothing of module 6, the last of module 0.
      if (k == 0) without(tensors, 6);
      if (k == 4) without(tensors, 0);
      adapters.push_back(family.write_adapter("zoo/" + std::to_string(k) + "/adapter", tensors));
    }
    options = family.options(adapters);
    options.means.backend = compute::Backend::reference;  // a layer's bits do not depend on those beside it
    options.judge.population = metrics::Population::zoo;
    options.judge.rank_by = "misalignment";
    options.judge.policy = {select::Policy::Kind::prune_top, 3};
  }

  static void without(test::Tensors& tensors, int layer) {
    for (const char* factor : {"lora_A", "lora_B"}) tensors.erase(TinyFamily::key(layer, factor));
  }

  report::Report run(AuditOptions these, std::size_t begin, std::size_t end) const {
    these.read.adapters.assign(adapters.begin() + static_cast<std::ptrdiff_t>(begin),
                               adapters.begin() + static_cast<std::ptrdiff_t>(end));
    return audit(these, *comm::make_self(), {}).report;
  }
  report::Report run(std::size_t begin, std::size_t end) const { return run(options, begin, end); }

  TinyFamily family;
  std::vector<std::string> adapters;
  AuditOptions options;
};

TEST_F(Merge, IsTheReportOfOneAuditBitForBit) {
  for (const auto population : {metrics::Population::role, metrics::Population::adapter, metrics::Population::zoo}) {
    for (const bool elements : {false, true}) {
      options.judge.population = population;
      options.measure.element_statistics = elements;
      const auto whole = run(0, 5);
      const auto merged = merge_reports({{"a.h5", run(0, 1)}, {"b.h5", run(1, 4)}, {"c.h5", run(4, 5)}}, {});
      EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole));
      EXPECT_EQ(merged.modules.size(), std::size_t{TinyFamily::kLayers});
      EXPECT_EQ(merged.adapters, whole.adapters);
      EXPECT_EQ(merged.policy + merged.rank_by + merged.population, whole.policy + whole.rank_by + whole.population);
      ASSERT_EQ(merged.metrics.size(), whole.metrics.size());
      for (std::size_t k = 0; k < whole.metrics.size(); ++k) {
        EXPECT_EQ(merged.metrics[k].long_name, whole.metrics[k].long_name);
        EXPECT_EQ(merged.metrics[k].units, whole.metrics[k].units);
      }
    }
  }
}

TEST_F(Merge, SelectsOverTheZooAsOneAudit) {
  options.judge.scope = select::Scope::zoo;
  for (const auto* rank_by : {"misalignment", "cosine", "alignment_removed"}) {
    for (const auto* policy : {"prune-top:7", "keep-top:7", "quantile:0.3", "threshold:0.1", "outliers:0.5"}) {
      options.judge.rank_by = rank_by;
      options.judge.policy = select::parse_policy(policy);
      const auto whole = run(0, 5);
      EXPECT_EQ(whole.scope, "zoo");
      const auto one = run(0, 1), two = run(1, 4), three = run(4, 5);
      const auto merged = merge_reports({{"a.h5", one}, {"b.h5", two}, {"c.h5", three}}, {});
      EXPECT_EQ(merged.scope, "zoo");
      EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole)) << rank_by << " " << policy;
      const auto turned = merge_reports({{"c.h5", three}, {"b.h5", two}, {"a.h5", one}}, {});
      const auto modules = whole.modules.size();
      const std::array<std::size_t, 5> place{4, 1, 2, 3, 0};
      for (std::size_t cell = 0; cell < whole.action.size(); ++cell) {
        EXPECT_EQ(turned.action[place.at(cell / modules) * modules + cell % modules], whole.action[cell]);
      }
    }
  }
}

TEST_F(Merge, TheCpuBackendAgreesToOneInAMillion) {
  options.means.backend = compute::Backend::cpu;
  const auto whole = run(0, 5);
  const auto merged = merge_reports({{"a.h5", run(0, 2)}, {"b.h5", run(2, 5)}}, {});
  for (const char* name : {"distance", "update_norm", "cosine"}) {
    const auto &expected = whole.find_metric(name)->values, &found = merged.find_metric(name)->values;
    for (std::size_t k = 0; k < expected.size(); ++k) {
      if (std::isnan(expected[k])) {
        EXPECT_TRUE(std::isnan(found[k]));
      } else {
        EXPECT_NEAR(found[k], expected[k], 1e-6 * std::fabs(expected[k]));
      }
    }
  }
  EXPECT_EQ(merged.action, whole.action);
}

TEST_F(Merge, TellsItsPartsAndKeepsWhatTheyAgreeOn) {
  options.write.facts = {{"winnow_version", std::string("1")}, {"slurm_job_id", std::string("7")}};
  const auto one = run(0, 2);
  options.write.facts["slurm_job_id"] = std::string("8");
  const auto merged = merge_reports({{"a.h5", one}, {"b.h5", run(2, 5)}}, {});
  EXPECT_EQ(std::get<std::string>(merged.attributes.at("merged_from")), "a.h5\nb.h5");
  EXPECT_EQ(std::get<std::int64_t>(merged.attributes.at("mpi_ranks")), 2);
  EXPECT_EQ(std::get<std::string>(merged.attributes.at("winnow_version")), "1");
  EXPECT_EQ(merged.attributes.count("slurm_job_id"), 0U);
  ASSERT_FALSE(merged.run.empty());
  EXPECT_EQ(merged.run.front().part, "a.h5");
  EXPECT_EQ(merged.run.back().part, "b.h5");
  const auto path = family.directory / "merged.h5";
  report::write_hdf5(merged, path);
  EXPECT_EQ(report::read_hdf5(path).run, merged.run);
}

TEST_F(Merge, KeepsQuarantinedAdaptersAndTellsWhatIsPrunedAltogether) {
  auto broken = TinyFamily::adapter(2);
  broken[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;
  family.write_adapter("zoo/1/adapter", broken);
  options.judge.policy = {select::Policy::Kind::keep_top, 0};
  options.write.repair = adapter::Repair::drop;
  options.write.repaired_dir = family.directory / "repaired";
  const auto whole = run(0, 5);
  const auto merged = merge_reports({{"a.h5", run(0, 2)}, {"b.h5", run(2, 5)}}, {});
  EXPECT_EQ(merged.adapters, whole.adapters);
  EXPECT_EQ(merged.adapters[1].status, "quarantined");
  EXPECT_THAT(merged.adapters[2].reason, HasSubstr("no adapter is left"));
}

TEST_F(Merge, RefusesPartsOfDifferentAudits) {
  const auto one = run(0, 2);
  const auto refused = [&](const AuditOptions& other, const auto& line) {
    test::expect_error(ErrorKind::invalid_input, AllOf(HasSubstr("b.h5"), line), [&] {
      merge_reports({{"a.h5", one}, {"b.h5", run(other, 2, 5)}}, {});
    });
  };
  auto other = options;
  other.measure.seed = 5;
  refused(other, HasSubstr("seed 0 as in a.h5, found 5"));
  other = options;
  other.judge.policy.value = 4;
  refused(other, HasSubstr("select prune-top:3 as in a.h5, found prune-top:4"));
  other = options;
  other.judge.scope = select::Scope::zoo;
  refused(other, HasSubstr("scope adapter as in a.h5, found zoo"));
  other = options;
  other.measure.element_statistics = true;
  refused(other, HasSubstr("metrics "));
}

TEST_F(Merge, RefusesPartsOfOneBitOfOtherWeights) {
  for (const bool aligned : {false, true}) {
    const auto one = run(0, 2);
    auto& value = (aligned ? family.aligned : family.base)[TinyFamily::weight(2)].values[0];
    value = std::nextafterf(value, 1.0F);  // in the norm it does not show
    family.options({});                    // writes them
    test::expect_error(ErrorKind::invalid_input,
                       AllOf(HasSubstr("different weights: b.h5, tensor model.layers.2.mlp.up_proj"),
                             HasSubstr(aligned ? "aligned weight with digest" : "base weight with digest")),
                       [&] {
                         auto other = run(2, 5);
                         for (const char* sample : {"base_sample", "aligned_sample"}) {
                           other.attributes[sample] = one.attributes.at(sample);
                         }
                         merge_reports({{"a.h5", one}, {"b.h5", other}}, {});
                       });
  }
}

TEST_F(Merge, RefusesPartsOfOtherWeightsThatShareNoModule) {
  auto first = TinyFamily::adapter(7), second = TinyFamily::adapter(8);
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) without(layer < 4 ? second : first, layer);
  adapters = {family.write_adapter("first", first), family.write_adapter("second", second)};
  const auto one = run(0, 1), other = run(1, 2);
  EXPECT_EQ(merge_reports({{"a.h5", one}, {"b.h5", other}}, {}).modules.size(), std::size_t{TinyFamily::kLayers});
  for (auto& [name, matrix] : family.aligned) {
    for (auto& value : matrix.values) value *= 1.01F;  // another training of the same model
  }
  family.options({});
  test::expect_error(ErrorKind::invalid_input,
                     AllOf(HasSubstr("not parts of one audit: b.h5"), HasSubstr("aligned_sample")), [&] {
                       merge_reports({{"a.h5", one}, {"b.h5", run(1, 2)}}, {});
                     });
}

// That passes disagree is of a run and of its adapters: no sign of other weights, and not forgotten.
TEST_F(Merge, KeepsThatPassesDisagreeInAnyPart) {
  for (const std::size_t which : {0U, 1U}) {
    std::vector<ReportPart> parts{{"a.h5", run(0, 2)}, {"b.h5", run(2, 5)}};
    parts[which].report.modules[2].flags |= report::kPassesDisagree;
    const auto merged = merge_reports(parts, {});
    EXPECT_EQ(merged.modules[2].flags, report::kPassesDisagree);
    EXPECT_EQ(merged.modules[3].flags, 0U);
    parts[1 - which].report.modules[2].flags |= report::kOutOfRange;
    EXPECT_THROW(merge_reports(parts, {}), base::Error);
  }
}

TEST_F(Merge, ReportsOfEarlierVersionsAreMergedAmongThemselvesWithAWarning) {
  const auto earlier = [&](std::size_t begin, std::size_t end) {
    auto report = run(begin, end);
    report.attributes.erase("base_sample");
    report.attributes.erase("aligned_sample");
    report.shards.clear();
    for (auto& module : report.modules) module.base_digest = module.aligned_digest = "";
    return report;
  };
  const auto path = family.directory / "earlier.h5";
  report::write_hdf5(earlier(0, 2), path);
  EXPECT_EQ(report::read_hdf5(path).modules, earlier(0, 2).modules);
  std::string said;
  const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
  merge_reports({{"a.h5", earlier(0, 2)}, {"b.h5", earlier(2, 5)}}, log);
  EXPECT_THAT(said, HasSubstr("whether they are of the same weights cannot be told"));
  test::expect_error(ErrorKind::invalid_input, AllOf(HasSubstr("b.h5"), HasSubstr("base_sample")), [&] {
    merge_reports({{"a.h5", earlier(0, 2)}, {"b.h5", run(2, 5)}}, {});
  });
}

TEST_F(Merge, AnAdapterThatIsInTwoPartsCountsOnce) {
  std::string said;
  const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
  const auto merged = merge_reports({{"a.h5", run(0, 2)}, {"b.h5", run(1, 5)}}, log);
  EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(run(0, 5)));
  EXPECT_EQ(said, fmt::format("1 adapter is in more than one report and counts once: {0} of b.h5 is {0} of a.h5",
                              adapters[1]));
}

TEST_F(Merge, ACopyOfAnAdapterIsTheSameAdapterUnlessItsScaleIsAnother) {
  const auto whole = run(0, 5);
  adapters.push_back(family.write_adapter("copy", TinyFamily::adapter(2)));
  const auto merged = merge_reports({{"a.h5", run(0, 5)}, {"b.h5", run(5, 6)}}, {});
  EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole));
  EXPECT_EQ(merged.copies, (std::vector<report::CopyRow>{{adapters[5], 1}}));
  family.directory.write("copy/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["up_proj"]})");
  EXPECT_EQ(merge_reports({{"a.h5", run(0, 5)}, {"b.h5", run(5, 6)}}, {}).adapters.size(), 6U);
}

TEST_F(Merge, EveryDirectoryIsFoundInTheReport) {
  using Copies = std::vector<report::CopyRow>;
  for (const char* name : {"of-1", "of-1-too", "of-4"}) {
    adapters.push_back(family.write_adapter(name, TinyFamily::adapter(name[3] == '1' ? 2 : 4)));
  }
  const auto of = [&](std::vector<std::size_t> chosen) {
    auto these = options;
    these.read.adapters.clear();
    for (const auto n : chosen) these.read.adapters.push_back(adapters[n]);
    return audit(these, *comm::make_self(), {}).report;
  };
  const auto a = of({0, 1, 5}), b = of({2, 6, 3, 7});
  ASSERT_EQ(a.copies, (Copies{{adapters[5], 1}}));
  ASSERT_EQ(b.copies, (Copies{{adapters[7], 2}}));
  // 6 was an adapter of its part, and is a copy now; what was a copy in a part is one of an adapter at another place.
  const auto merged = merge_reports({{"a.h5", a}, {"b.h5", b}}, {});
  ASSERT_EQ(merged.adapters.size(), 4U);
  EXPECT_EQ(merged.copies, (Copies{{adapters[5], 1}, {adapters[6], 1}, {adapters[7], 3}}));
  // The copy of an adapter that is dropped itself, a directory that was judged in one part and dropped in another, and
  // one that is in both.
  const auto again = merge_reports({{"a.h5", of({5})}, {"b.h5", a}, {"c.h5", of({1, 6})}, {"d.h5", merged}}, {});
  ASSERT_EQ(again.adapters.size(), 4U);
  EXPECT_EQ(again.adapters[0].path, adapters[5]);
  EXPECT_EQ(again.adapters[1].path, adapters[0]);
  EXPECT_EQ(again.adapters[3].path, adapters[3]);
  EXPECT_EQ(again.copies, (Copies{{adapters[6], 0}, {adapters[1], 0}, {adapters[7], 3}})) << "by path";
}

// Every way in which one adapter may come twice, in parts that begin and end anywhere: an audit of all tells copies by
// what they do, and so does a merge.
TEST_F(Merge, TellsCopiesAsOneAuditDoes) {
  const auto write = [&](const std::string& name, unsigned seed, const std::string& scales) {
    adapters.push_back(family.write_adapter(name, TinyFamily::adapter(seed)));
    family.directory.write(name + "/adapter_config.json",
                           R"({"peft_type": "LORA", "target_modules": ["up_proj"], )" + scales + "}");
  };
  adapters.clear();
  write("spelled/adapter", 1, R"("r": 2, "lora_alpha": 4)");
  write("spelled/alpha", 1, R"("r": 2, "lora_alpha": 1, "alpha_pattern": {"up_proj": 4})");
  write("spelled/rank", 1, R"("r": 8, "lora_alpha": 4, "rank_pattern": {"up_proj": 2})");
  write("spelled/other", 1, R"("r": 2, "lora_alpha": 4, "alpha_pattern": {"layers.3.mlp.up_proj": 5})");
  write("dora/a", 2, R"("r": 2, "lora_alpha": 4, "use_dora": true)");  // quarantined before anything has a digest
  write("dora/b", 2, R"("r": 2, "lora_alpha": 4, "use_dora": true)");
  adapters.push_back(adapters.back() + "/");
  auto broken = TinyFamily::adapter(3);
  broken[TinyFamily::key(4, "lora_B")].values[3] = INFINITY;  // found when it is scored
  adapters.push_back(family.write_adapter("broken/a", broken));
  adapters.push_back(family.write_adapter("broken/b", broken));
  write("run/adapter", 4, R"("r": 2, "lora_alpha": 4)");
  write("other/adapter", 5, R"("r": 2, "lora_alpha": 4)");
  write("run/checkpoint-2", 4, R"("r": 2, "lora_alpha": 4)");
  write("copy/of-run", 4, R"("r": 2, "lora_alpha": 4)");
  write("run/checkpoint-1", 4, R"("r": 2, "lora_alpha": 4)");
  write("copy/too", 1, R"("r": 2, "lora_alpha": 4)");
  adapters.push_back(adapters[10]);
  options.write.slice = true;  // some parts have nothing that can be scored
  const auto whole = run(0, adapters.size());
  ASSERT_EQ(whole.adapters.size(), 8U);
  ASSERT_EQ(whole.copies.size(), 6U);
  std::mt19937 random(20261130);
  for (int round = 0; round < 12; ++round) {
    std::vector<ReportPart> parts;
    for (std::size_t begin = 0; begin < adapters.size();) {
      const auto end = std::min<std::size_t>(adapters.size(), begin + 1 + random() % 7);
      parts.push_back({fmt::format("{}.h5", parts.size()), run(begin, end)});
      begin = end;
    }
    const auto merged = merge_reports(parts, {});
    EXPECT_EQ(merged.adapters, whole.adapters) << parts.size();
    EXPECT_EQ(merged.copies, whole.copies) << parts.size();
    EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(whole)) << parts.size();
  }
}

// That a part leaves nothing of an adapter is of the part's selection, not of the adapter.
TEST_F(Merge, AnAdapterOfWhichAPartLeavesNothingIsTheSameAdapter) {
  options.judge.scope = select::Scope::zoo;
  options.judge.policy = {select::Policy::Kind::prune_top, 8};
  options.write.repair = adapter::Repair::drop;
  options.write.repaired_dir = family.directory / "repaired";
  const auto whole = run(0, 5), alone = run(1, 2);
  ASSERT_THAT(alone.adapters[0].reason, HasSubstr("no adapter is left"));
  EXPECT_EQ(merge_reports({{"a.h5", run(0, 3)}, {"b.h5", alone}, {"c.h5", run(3, 5)}}, {}).adapters, whole.adapters);
}

TEST_F(Merge, AnAdapterThatIsInTwoPartsIsNoCopyOfItself) {
  EXPECT_TRUE(merge_reports({{"a.h5", run(0, 2)}, {"b.h5", run(1, 5)}}, {}).copies.empty());
}

TEST_F(Merge, AReportGivenTwiceCountsOnce) {
  const auto one = family.directory / "a.h5", two = family.directory / "b.h5";
  report::write_hdf5(run(0, 2), one);
  report::write_hdf5(run(2, 5), two);
  std::filesystem::create_symlink(one, family.directory / "link.h5");
  std::string said;
  const base::Log log([&](base::LogLevel, std::string_view text) { said += text; });
  const auto merged =
      merge_report_files({one, two, one, family.directory / "link.h5"}, family.directory / "m.h5", {}, log);
  EXPECT_EQ(test::report_fingerprint(merged), test::report_fingerprint(run(0, 5)));
  EXPECT_EQ(std::get<std::int64_t>(merged.attributes.at("mpi_ranks")), 2);
  EXPECT_EQ(said, "a report that is given more than once counts once: " + one);
}

}  // namespace
}  // namespace winnow::pipeline
