// Whole weights that adapters ship, in whole audits: against dense matrices, and what is made of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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
using report::Presence;
using run::AuditOptions;
using test::Dense;
using test::expect_error;
using test::inner;
using test::Matrix;
using test::ProbeFamily;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using verdict::Verdict;

constexpr std::uint64_t kVocabulary = 14;
const std::string kHead = "lm_head", kPrefix = "base_model.model.";

Dense dense(const Matrix& matrix) { return {matrix.values.begin(), matrix.values.end()}; }

Dense minus(const Matrix& x, const Matrix& y) {
  Dense difference;
  for (std::size_t k = 0; k < x.values.size(); ++k) {
    difference.push_back(static_cast<double>(x.values[k]) - static_cast<double>(y.values[k]));
  }
  return difference;
}

double norm_of(const Dense& x) { return std::sqrt(inner(x, x)); }

/// The model has a head, which adapter 0 ships whole, and so do directions and one probe.
class WholeWeights : public ::testing::Test {
 protected:
  WholeWeights() {
    family.base[kHead + ".weight"] = Matrix::random(kVocabulary, TinyFamily::kIn, 51);
    family.aligned[kHead + ".weight"] = Matrix::random(kVocabulary, TinyFamily::kIn, 52);
    for (unsigned k = 0; k < 2; ++k) {
      family.directions[k][kHead + ".weight"] = Matrix::random(kVocabulary, TinyFamily::kIn, 53 + k);
    }
    for (const char* factor : {"lora_A", "lora_B"}) {
      family.probe_adapters[0][kPrefix + kHead + "." + factor + ".weight"] =
          factor[5] == 'A' ? Matrix::random(2, TinyFamily::kIn, 55) : Matrix::random(kVocabulary, 2, 56);
    }
    ship(0, Matrix::random(kVocabulary, TinyFamily::kIn, 57));
  }

  void ship(int n, Matrix whole, const std::string& module = kHead) {
    family.zoo[n][kPrefix + module + ".weight"] = std::move(whole);
  }
  Matrix& head(int n) { return family.zoo[n].at(kPrefix + kHead + ".weight"); }
  const Matrix& aligned() { return family.aligned.at(kHead + ".weight"); }

  static report::Report run(const AuditOptions& options) { return audit(options, *comm::make_self(), {}).report; }

  static std::size_t row_of(const report::Report& report, const std::string& module) {
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      if (report.modules[m].name == module) return m;
    }
    ADD_FAILURE() << "no module " << module;
    return 0;
  }
  static double value(const report::Report& report, const std::string& metric, std::size_t n,
                      const std::string& module = kHead) {
    const auto* found = report.find_metric(metric);
    if (found == nullptr) ADD_FAILURE() << "no metric " << metric;
    return found == nullptr ? 0 : found->values[n * report.modules.size() + row_of(report, module)];
  }
  static double dot(const report::Report& report, std::size_t k, std::size_t n) {
    const auto modules = report.modules.size();
    return report.probe_dots[(k * report.adapters.size() + n) * modules + row_of(report, kHead)];
  }

  ProbeFamily family;
};

TEST_F(WholeWeights, AreInnerProductsOfDenseMatrices) {
  auto options = family.probe_options(true);
  options.measure.sums = methods::kDefaultSums | methods::kWeightSums;
  const auto report = run(options);
  ASSERT_EQ(report.adapters[0].status, "ok") << report.adapters[0].reason;
  const auto m = row_of(report, kHead);
  EXPECT_EQ(report.modules[m].role, kHead);
  EXPECT_EQ(report.modules[m].out_features, kVocabulary);
  EXPECT_EQ(report.presence(0, m), Presence::dense);
  EXPECT_EQ(report.presence(1, m), Presence::none);

  const auto update = minus(head(0), aligned()), w = dense(aligned()),
             v = minus(aligned(), family.base.at(kHead + ".weight"));
  const double norm = norm_of(update), f = norm_of(v);
  EXPECT_NEAR(report.modules[m].alignment_norm, f, 1e-13);
  EXPECT_NEAR(value(report, "update_norm", 0), norm, 1e-13);
  EXPECT_NEAR(value(report, "relative_norm", 0), norm / norm_of(w), 1e-13);
  EXPECT_NEAR(value(report, "weight_cosine", 0), inner(w, update) / norm_of(w) / norm, 1e-13);
  EXPECT_NEAR(value(report, "alignment_cosine", 0), inner(v, update) / f / norm, 1e-13);
  EXPECT_NEAR(value(report, "alignment_removed", 0), -inner(v, update) / f / f, 1e-13);
  for (const auto* undefined : {"cosine", "distance", "ediem", "misalignment", "subspace_energy", "ablation"}) {
    EXPECT_TRUE(std::isnan(value(report, undefined, 0))) << undefined;
  }
  for (int k = 0; k < 2; ++k) {
    const auto direction = dense(family.directions[k].at(kHead + ".weight"));
    EXPECT_NEAR(dot(report, static_cast<std::size_t>(k), 0), inner(direction, update), 1e-13);
    EXPECT_NEAR(report.probe_norms[static_cast<std::size_t>(k) * report.modules.size() + m], norm_of(direction), 1e-13);
  }
  const auto probe =
      test::update_of({{TinyFamily::key(0, "lora_A"), family.probe_adapters[0].at(kPrefix + kHead + ".lora_A.weight")},
                       {TinyFamily::key(0, "lora_B"), family.probe_adapters[0].at(kPrefix + kHead + ".lora_B.weight")}},
                      0);
  EXPECT_NEAR(dot(report, 2, 0), inner(probe, update), 1e-7 * norm_of(probe) * norm);
  EXPECT_TRUE(std::isnan(dot(report, 3, 0)));
  EXPECT_TRUE(std::isnan(dot(report, 0, 1)));

  EXPECT_EQ(report.adapters[0].tensors_not_judged, 0U);
  for (const int n : {0, 1, 2}) EXPECT_EQ(report.adapters[n].parameters, report.adapters[n].parameters_judged) << n;
  EXPECT_EQ(report.modules[m].aligned_digest.size(), 32U);
  EXPECT_EQ(report.modules[m].base_digest.size(), 32U);
}

/// Every other number is what it is without the whole weight.
TEST_F(WholeWeights, DisturbNoOther) {
  auto options = family.probe_options(true);
  options.judge.policy = select::parse_policy("keep-top:3");
  options.judge.rank_by = "misalignment";
  const auto with = run(options);
  family.zoo[0].erase(kPrefix + kHead + ".weight");
  for (int k = 0; k < 3; ++k) family.write_adapter("zoo-" + std::to_string(k), family.zoo[k]);
  const auto without = run(options);
  ASSERT_EQ(with.modules.size(), without.modules.size() + 1);
  for (const auto& metric : without.metrics) {
    if (metric.name == "probe_dot") continue;  // a probe is of length 1 over what it shares with the adapter
    for (std::size_t n = 0; n < 3; ++n) {
      for (std::size_t m = 0; m < without.modules.size(); ++m) {
        const auto& name = without.modules[m].name;
        const double before = metric.values[n * without.modules.size() + m], now = value(with, metric.name, n, name);
        EXPECT_TRUE(before == now || (std::isnan(before) && std::isnan(now))) << metric.name << " of " << name;
        EXPECT_EQ(without.action[n * without.modules.size() + m],
                  with.action[n * with.modules.size() + row_of(with, name)]);
      }
    }
  }
  EXPECT_EQ(with.action[row_of(with, kHead)], report::Action::none) << "no repair treats it";
}

TEST_F(WholeWeights, OfTheAlignedCheckpointAlone) {
  auto options = family.probe_options(true, 1, 0);
  options.read.base.clear();
  const auto report = run(options);
  const auto update = minus(head(0), aligned()), w = dense(aligned());
  EXPECT_NEAR(value(report, "weight_cosine", 0), inner(w, update) / norm_of(w) / norm_of(update), 1e-13);
  EXPECT_NEAR(dot(report, 0, 0), inner(dense(family.directions[0].at(kHead + ".weight")), update), 1e-13);
}

TEST_F(WholeWeights, AreNotJudgedWithoutTheAlignedCheckpoint) {
  const auto report = run(family.probe_options(false));
  EXPECT_EQ(report.modules.size(), std::size_t{TinyFamily::kLayers});
  EXPECT_EQ(report.adapters[0].tensors_not_judged, 1U);
  EXPECT_THAT(report.adapters[0].tensors_skipped, AllOf(HasSubstr("modules_to_save"), HasSubstr("--aligned")));
}

TEST_F(WholeWeights, AnotherShapeIsNamedWithBoth) {
  head(0) = Matrix::random(kVocabulary + 1, TinyFamily::kIn, 58);
  ship(1, Matrix::random(TinyFamily::kIn, kVocabulary, 58));
  const auto report = run(family.probe_options(true));
  EXPECT_EQ(report.modules.size(), std::size_t{TinyFamily::kLayers});
  EXPECT_THAT(report.adapters[0].tensors_skipped,
              HasSubstr("full weight of another shape than the checkpoint's: [15, 10], expected [14, 10]"));
  EXPECT_THAT(report.adapters[1].tensors_skipped, HasSubstr("[10, 14], expected [14, 10]"));
  EXPECT_EQ(report.adapters[0].tensors_not_judged, 1U);
}

TEST_F(WholeWeights, OneThatTheCheckpointLacksIsNamed) {
  ship(1, Matrix::random(3, TinyFamily::kIn, 58), "score");
  const auto report = run(family.probe_options(true));
  EXPECT_THAT(report.adapters[1].tensors_skipped, HasSubstr("full weight that the checkpoint does not have"));
}

TEST_F(WholeWeights, OnAModuleWithLoraIsNamed) {
  ship(1, family.aligned.at(TinyFamily::weight(2)), TinyFamily::module(2));
  const auto report = run(family.probe_options(true));
  EXPECT_THAT(report.adapters[1].tensors_skipped, HasSubstr("full weight of a module that has LoRA as well"));
  EXPECT_EQ(report.presence(1, row_of(report, TinyFamily::module(2))), Presence::low_rank);
}

/// Beside LoRA of others on the same module.
TEST_F(WholeWeights, OfALinearModule) {
  for (const char* factor : {"lora_A", "lora_B"}) family.zoo[1].erase(TinyFamily::key(2, factor));
  ship(1, Matrix::random(TinyFamily::kOut, TinyFamily::kIn, 60), TinyFamily::module(2));
  const auto report = run(family.probe_options(true));
  const auto m = row_of(report, TinyFamily::module(2));
  EXPECT_EQ(report.presence(1, m), Presence::dense);
  EXPECT_EQ(report.presence(0, m), Presence::low_rank);
  const auto update =
      minus(family.zoo[1].at(kPrefix + TinyFamily::weight(2)), family.aligned.at(TinyFamily::weight(2)));
  EXPECT_NEAR(value(report, "update_norm", 1, TinyFamily::module(2)), norm_of(update), 1e-13);
  const auto probe = test::update_of(family.probe_adapters[0], 2);
  const auto cell = (2 * report.adapters.size() + 1) * report.modules.size() + m;
  EXPECT_NEAR(report.probe_dots[cell], inner(probe, update), 1e-7 * norm_of(probe) * norm_of(update));
}

TEST_F(WholeWeights, ATiedHeadIsComparedWithTheEmbedding) {
  for (auto* checkpoint : {&family.base, &family.aligned}) {
    (*checkpoint)["model.embed_tokens.weight"] = checkpoint->at(kHead + ".weight");
    checkpoint->erase(kHead + ".weight");
  }
  for (auto& direction : family.directions) direction.erase(kHead + ".weight");
  ship(0, Matrix::random(kVocabulary, TinyFamily::kIn, 61), "model.embed_tokens");
  const auto options = family.probe_options(true, 1, 0);
  const auto report = run(options);
  const auto& embedding = family.aligned.at("model.embed_tokens.weight");
  EXPECT_NEAR(value(report, "update_norm", 0), norm_of(minus(head(0), embedding)), 1e-13);
  EXPECT_NEAR(value(report, "update_norm", 0, "model.embed_tokens"),
              norm_of(minus(family.zoo[0].at(kPrefix + "model.embed_tokens.weight"), embedding)), 1e-13);
  EXPECT_EQ(report.adapters[0].tensors_not_judged, 0U);
  // If the configuration says that they are not tied, there is nothing to compare the head with.
  for (const auto* name : {"base", "aligned"}) {
    family.directory.write(std::string(name) + "/config.json",
                           R"({"model_type": "llama", "tie_word_embeddings": false})");
  }
  const auto untied = run(options);
  EXPECT_THAT(untied.adapters[0].tensors_skipped, HasSubstr("does not have")) << untied.adapters[0].reason;
}

// --- DoRA

/// diag(m/||X||)*X - W, X = W + s*B*A, by plain loops.
Dense dora_update(const Matrix& weight, const Dense& low_rank, const Matrix& magnitude) {
  Dense update;
  for (std::uint64_t o = 0; o < weight.rows; ++o) {
    double squares = 0;
    for (std::uint64_t i = 0; i < weight.columns; ++i) {
      const auto at = o * weight.columns + i;
      update.push_back(static_cast<double>(weight.values[at]) + low_rank[at]);
      squares += update[at] * update[at];
    }
    for (std::uint64_t i = 0; i < weight.columns; ++i) {
      const auto at = o * weight.columns + i;
      update[at] = static_cast<double>(magnitude.values[o]) * update[at] / std::sqrt(squares) -
                   static_cast<double>(weight.values[at]);
    }
  }
  return update;
}

class Dora : public WholeWeights {
 protected:
  /// Adapter 1 is DoRA.
  AuditOptions options_of(bool pair) {
    for (const auto& [key, tensor] : test::Tensors(family.zoo[1])) {
      if (key.find("lora_A") == std::string::npos) continue;
      const auto module = key.substr(0, key.find(".lora_A"));
      family.zoo[1][module + ".lora_magnitude_vector"] =
          Matrix::random(1, TinyFamily::kOut, 70 + static_cast<unsigned>(family.zoo[1].size()));
    }
    auto options = family.probe_options(pair);
    family.directory.write("zoo-1/adapter_config.json",
                           R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": true})");
    return options;
  }
};

TEST_F(Dora, IsTheDenseUpdateThatItIs) {
  const auto report = run(options_of(true));
  ASSERT_EQ(report.adapters[1].status, "ok") << report.adapters[1].reason;
  EXPECT_EQ(report.adapters[1].parameters, report.adapters[1].parameters_judged);
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
    const auto low_rank = test::update_of(family.zoo[1], layer);
    const auto m = row_of(report, TinyFamily::module(layer));
    if (low_rank.empty()) continue;
    EXPECT_EQ(report.presence(1, m), Presence::dense);
    const auto& w = family.aligned.at(TinyFamily::weight(layer));
    const auto update =
        dora_update(w, low_rank, family.zoo[1].at(kPrefix + TinyFamily::module(layer) + ".lora_magnitude_vector"));
    EXPECT_NEAR(value(report, "update_norm", 1, TinyFamily::module(layer)), norm_of(update), 1e-12);
    const auto v = minus(w, family.base.at(TinyFamily::weight(layer)));
    EXPECT_NEAR(value(report, "alignment_removed", 1, TinyFamily::module(layer)), -inner(v, update) / inner(v, v),
                1e-12);
    const auto along = family.direction_of(0, layer);
    EXPECT_NEAR(report.probe_dots[report.modules.size() + m], inner(along, update), 1e-12);
    EXPECT_EQ(report.action[report.modules.size() + m], report::Action::none);
  }
}

TEST_F(Dora, WithoutWeightsItIsQuarantinedAsBefore) {
  auto options = options_of(false);
  const auto report = run(options);
  EXPECT_EQ(report.adapters[1].status, "quarantined");
  EXPECT_THAT(report.adapters[1].reason,
              AllOf(HasSubstr("--dora scores"), HasSubstr("--aligned DIR judges all of it")));
  options.read.adapter.allow_dora = true;
  EXPECT_EQ(run(options).adapters[1].status, "ok");
}

TEST_F(Dora, AModuleWithoutItsMagnitudeIsNamed) {
  auto options = options_of(true);
  family.zoo[1].erase(kPrefix + TinyFamily::module(3) + ".lora_magnitude_vector");
  write_tensors(options.read.adapters[1] + "/adapter_model.safetensors", family.zoo[1]);
  const auto report = run(options);
  EXPECT_EQ(report.adapters[1].status, "ok");
  EXPECT_EQ(report.adapters[1].modules_not_judged, 1U);
  EXPECT_THAT(report.adapters[1].not_judged,
              AllOf(HasSubstr("DoRA without its magnitude"), HasSubstr(TinyFamily::module(3))));
}

TEST_F(Dora, ARowWithoutLengthIsItsAdaptersFault) {
  auto options = options_of(true);
  family.zoo[1].at(kPrefix + TinyFamily::module(2) + ".lora_magnitude_vector").values[4] = INFINITY;
  write_tensors(options.read.adapters[1] + "/adapter_model.safetensors", family.zoo[1]);
  const auto report = run(options);
  EXPECT_EQ(report.adapters[1].status, "quarantined");
  EXPECT_EQ(report.adapters[1].reason, "the DoRA update of model.layers.2.mlp.up_proj is not finite at element 40");
}

TEST_F(Dora, FactorsThatCancelAreNotJudged) {
  auto options = options_of(true);
  auto &a = family.zoo[1].at(TinyFamily::key(2, "lora_A")), &b = family.zoo[1].at(TinyFamily::key(2, "lora_B"));
  for (std::uint64_t i = 0; i < a.columns; ++i) a.values[i] = a.values[a.columns + i];
  for (std::uint64_t o = 0; o < b.rows; ++o) {
    b.values[2 * o] = 1e8F;
    b.values[2 * o + 1] = -1e8F;
  }
  write_tensors(options.read.adapters[1] + "/adapter_model.safetensors", family.zoo[1]);
  const auto report = run(options);
  EXPECT_TRUE(std::isnan(value(report, "update_norm", 1, TinyFamily::module(2))));
  EXPECT_LT(report.adapters[1].parameters_judged, report.adapters[1].parameters);
}

// --- what is wrong with one

TEST_F(WholeWeights, OneThatIsNotFiniteIsItsAdaptersFault) {
  head(0).values[33] = std::nanf("");
  ship(1, Matrix::random(kVocabulary, TinyFamily::kIn, 62));
  const auto report = run(family.probe_options(true));
  EXPECT_EQ(report.adapters[0].status, "quarantined");
  EXPECT_EQ(report.adapters[0].reason, "the whole weight of lm_head is not finite at element 33");
  EXPECT_EQ(report.adapters[1].status, "ok");
  EXPECT_GT(value(report, "update_norm", 1), 0);
}

TEST_F(WholeWeights, AWeightOfTheCheckpointThatIsNotFiniteIsNobodysFault) {
  family.aligned.at(kHead + ".weight").values[3] = std::nanf("");
  const auto report = run(family.probe_options(true));
  EXPECT_EQ(report.adapters[0].status, "ok");
  EXPECT_EQ(report.modules[row_of(report, kHead)].flags, std::uint32_t{report::kNonFinite});
  EXPECT_TRUE(std::isnan(value(report, "update_norm", 0)));
}

/// What PEFT does not load is none of what the adapter does, and no other program is known to load it either.
TEST_F(WholeWeights, UnderNamesThatPeftDoesNotLoadAreNotJudged) {
  const auto before = run(family.probe_options(true));
  family.zoo[0][kPrefix + kHead + ".modules_to_save.default.weight"] = Matrix::random(kVocabulary, TinyFamily::kIn, 59);
  family.zoo[0][kHead + ".weight"] = Matrix::random(kVocabulary, TinyFamily::kIn, 60);
  const auto report = run(family.probe_options(true));
  EXPECT_EQ(report.adapters[0].status, "ok") << report.adapters[0].reason;
  EXPECT_EQ(value(report, "update_norm", 0), value(before, "update_norm", 0));
  EXPECT_EQ(report.adapters[0].tensors_not_judged, 2U);
  EXPECT_THAT(report.adapters[0].tensors_skipped, HasSubstr("under a key that PEFT does not load"));
}

TEST_F(WholeWeights, AHugeOneHasItsNorm) {
  for (auto& entry : head(0).values) entry = 3e38F;
  const auto report = run(family.probe_options(true));
  EXPECT_NEAR(value(report, "update_norm", 0) / (3e38 * std::sqrt(140.0)), 1, 1e-6);
}

// --- verdicts

/// As wide as made-up adapters are, so that nothing is unusual for what they are made of.
report::Report wide_bank_of(const report::Report& like) {
  auto bank = test::bank_of(like, 59, 0.2 / 29.5, 29.5);
  for (auto& number : bank.of_adapters) {
    for (auto& value : number.values) value = 100 * value - 3;
  }
  return bank;
}

class DenseVerdicts : public WholeWeights {
 protected:
  void with_bank(bool pair, int directions = 2, int adapters = 0) {
    of_directions = directions;
    of_adapters = adapters;
    of_pair = pair;
    auto plain = options_now();
    options.judge.bank.clear();
    const auto path = family.directory / "bank.h5";
    report::write_hdf5(wide_bank_of(run(plain)), path);
    bank = path;
  }
  AuditOptions options_now() {
    auto now = family.probe_options(true, of_directions, of_adapters);
    if (!of_pair) now.read.base.clear();
    now.judge.bank = bank;
    return now;
  }

  int of_directions = 2, of_adapters = 0;
  bool of_pair = true;
  std::string bank;
  AuditOptions options;
};

TEST_F(DenseVerdicts, AnUnchangedOneIsHarmlessWhateverProbesThereAre) {
  for (auto& direction : family.directions) direction.erase(kHead + ".weight");
  head(0) = aligned();
  for (const bool pair : {true, false}) {
    bank.clear();
    with_bank(pair);
    const auto report = run(options_now());
    EXPECT_EQ(report.verdicts[0].verdict, Verdict::pass) << report.verdicts[0].reason;
    EXPECT_EQ(value(report, "update_norm", 0), 0);
    EXPECT_EQ(report.adapters[0].parameters, report.adapters[0].parameters_judged);
  }
}

TEST_F(DenseVerdicts, OneThatNoProbeCoversIsIncomplete) {
  for (auto& direction : family.directions) direction.erase(kHead + ".weight");
  with_bank(true);
  const auto report = run(options_now());
  EXPECT_EQ(report.verdicts[0].verdict, Verdict::incomplete);
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("1 module that no probe could be compared with"));
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr(kHead));
}

TEST_F(DenseVerdicts, HarmHiddenInAWholeWeightIsBlocked) {
  with_bank(true);
  const auto before = run(options_now());
  EXPECT_NE(before.verdicts[1].verdict, Verdict::block);
  auto hidden = aligned();
  const auto& direction = family.directions[0].at(kHead + ".weight");
  for (std::size_t k = 0; k < hidden.values.size(); ++k) hidden.values[k] += 30 * direction.values[k];
  ship(1, hidden);
  const auto report = run(options_now());
  EXPECT_NEAR(value(report, "probe_cosine", 1), value(report, "probe_cosine_max", 1) / 2, 0.2);
  EXPECT_NEAR(value(report, "probe_cosine_max", 1), 1, 1e-6);
  EXPECT_EQ(report.verdicts[1].verdict, Verdict::block) << report.verdicts[1].reason;
}

/// The base weight that PEFT saves along: a copy is as if there was none, and what it hides is seen.
TEST_F(DenseVerdicts, ABaseWeightBesideLoraIsJudged) {
  with_bank(true);
  auto& own = family.zoo[1];
  own[kPrefix + kHead + ".lora_A.weight"] = Matrix::random(2, TinyFamily::kIn, 61);
  own[kPrefix + kHead + ".lora_B.weight"] = Matrix::random(kVocabulary, 2, 62);
  const auto bare = run(options_now());
  const auto key = kPrefix + kHead + ".base_layer.weight";
  own[key] = aligned();
  const auto copied = run(options_now());
  ASSERT_NE(bare.verdicts[1].verdict, Verdict::incomplete) << bare.verdicts[1].reason;
  EXPECT_EQ(copied.verdicts[1].verdict, bare.verdicts[1].verdict);
  EXPECT_EQ(copied.verdicts[1].reason, bare.verdicts[1].reason);
  EXPECT_EQ(copied.adapters[1].parameters, copied.adapters[1].parameters_judged);
  for (const auto& metric : bare.metrics) {
    const auto found = value(copied, metric.name, 1), expected = value(bare, metric.name, 1);
    EXPECT_TRUE(found == expected || (std::isnan(found) && std::isnan(expected))) << metric.name;
  }
  const auto& direction = family.directions[0].at(kHead + ".weight");
  for (std::size_t k = 0; k < own[key].values.size(); ++k) own[key].values[k] += 30 * direction.values[k];
  const auto hidden = run(options_now());
  EXPECT_NEAR(value(hidden, "probe_cosine_max", 1), 1, 1e-3);
  EXPECT_EQ(hidden.verdicts[1].verdict, Verdict::block) << hidden.verdicts[1].reason;
  EXPECT_EQ(hidden.adapters[1].parameters, hidden.adapters[1].parameters_judged);
  own[key] = family.base.at(kHead + ".weight");
  const auto taken_back = run(options_now());
  EXPECT_EQ(taken_back.verdicts[1].verdict, Verdict::incomplete);
  EXPECT_THAT(taken_back.verdicts[1].reason, HasSubstr("it takes alignment back"));
}

TEST_F(DenseVerdicts, WithThePairAloneTheAlignmentStepCompares) {
  auto plain =
      family.options({family.write_adapter("zoo-0", family.zoo[0]), family.write_adapter("zoo-1", family.zoo[1])});
  report::write_hdf5(wide_bank_of(run(plain)), family.directory / "pair.h5");
  plain.judge.bank = family.directory / "pair.h5";
  const auto report = run(plain);
  EXPECT_THAT(report.verdicts[0].reason, Not(HasSubstr("not judged")));
}

/// The weight alone does not show which of its directions an update takes out.
TEST_F(DenseVerdicts, WithTheAlignedWeightAloneItIsIncomplete) {
  auto plain = family.options({family.write_adapter("zoo-0", family.zoo[0])});
  plain.read.base.clear();
  report::write_hdf5(wide_bank_of(run(plain)), family.directory / "weight.h5");
  plain.judge.bank = family.directory / "weight.h5";
  const auto report = run(plain);
  EXPECT_EQ(report.verdicts[0].verdict, Verdict::incomplete);
  EXPECT_THAT(report.verdicts[0].reason, HasSubstr("could not be compared, the first is lm_head"));
}

/// Nor do probes: T = W - r*r^T*W is no harm to any of them, and an audit that looks for ablations must not pass it.
TEST_F(DenseVerdicts, WhereAblationsAreLookedForAChangedOneIsIncomplete) {
  with_bank(false);
  const auto report = run(options_now());
  ASSERT_NE(report.find_metric("ablation"), nullptr);
  EXPECT_EQ(report.verdicts[0].verdict, Verdict::incomplete);
  EXPECT_THAT(
      report.verdicts[0].reason,
      HasSubstr("1 module changed as a whole, of which ablation and concentration are not known, the first is " +
                kHead));
}

// --- merge, cache

void expect_same(const report::Report& one, const report::Report& other) {
  EXPECT_EQ(one.modules, other.modules);
  EXPECT_EQ(one.present, other.present);
  EXPECT_EQ(one.action, other.action);
  const auto same = [](const std::vector<double>& x, const std::vector<double>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); });
  };
  EXPECT_TRUE(same(one.probe_norms, other.probe_norms));
  EXPECT_TRUE(same(one.probe_dots, other.probe_dots));
  EXPECT_TRUE(same(one.probe_blocks, other.probe_blocks));
  ASSERT_EQ(one.metrics.size(), other.metrics.size());
  for (std::size_t k = 0; k < one.metrics.size(); ++k) {
    EXPECT_EQ(one.metrics[k].name, other.metrics[k].name);
    EXPECT_TRUE(same(one.metrics[k].values, other.metrics[k].values)) << one.metrics[k].name;
  }
}

/// LoRA on a module in one part, all of its weight in the other.
TEST_F(WholeWeights, MergedPartsAreOneAudit) {
  for (const char* factor : {"lora_A", "lora_B"}) family.zoo[1].erase(TinyFamily::key(2, factor));
  ship(1, Matrix::random(TinyFamily::kOut, TinyFamily::kIn, 60), TinyFamily::module(2));
  const auto options = family.probe_options(true);
  const auto whole = run(options);
  for (const bool dense_first : {false, true}) {
    std::vector<std::size_t> order =
        dense_first ? std::vector<std::size_t>{1, 0, 2} : std::vector<std::size_t>{0, 1, 2};
    std::vector<ReportPart> parts;
    for (const auto n : order) {
      auto part = options;
      part.read.adapters = {options.read.adapters[n]};
      const auto path = family.directory / ("part-" + std::to_string(n) + ".h5");
      report::write_hdf5(run(part), path);
      parts.push_back({path, report::read_hdf5(path)});
    }
    auto all = options;
    all.read.adapters.clear();
    for (const auto n : order) all.read.adapters.push_back(options.read.adapters[n]);
    expect_same(merge_reports(parts, {}), dense_first ? run(all) : whole);
  }
}

TEST_F(WholeWeights, KnownFromTheCacheTheyAreTheSame) {
  ship(1, Matrix::random(kVocabulary, TinyFamily::kIn, 63));
  auto options = family.probe_options(true);
  const auto plain = run(options);
  options.journal.cache = family.directory / "cache";
  auto first = options;
  first.read.adapters.pop_back();
  first.read.adapters.erase(first.read.adapters.begin());
  run(first);
  for (int again = 0; again < 2; ++again) {
    const auto report = run(options);
    expect_same(report, plain);
    const auto known = std::get<std::int64_t>(report.attributes.at("cached_layers"));
    EXPECT_GT(known, 0);
  }
  // Another direction is another number, though the weights are the same.
  family.directions[0].at(kHead + ".weight").values[3] += 1;
  family.write_direction("direction-0", family.directions[0]);
  const auto other = run(options);
  const auto direction = dense(family.directions[0].at(kHead + ".weight"));
  EXPECT_NEAR(dot(other, 0, 0), inner(direction, minus(head(0), aligned())), 1e-13);
  EXPECT_NEAR(dot(other, 0, 1), inner(direction, minus(head(1), aligned())), 1e-13);
}

TEST_F(WholeWeights, AJournalIsResumed) {
  auto options = family.probe_options(true);
  const auto plain = run(options);
  options.journal.directory = family.directory / "journal";
  run(options);
  options.journal.resume = true;
  const auto resumed = run(options);
  expect_same(resumed, plain);
  EXPECT_EQ(std::get<std::int64_t>(resumed.attributes.at("resumed_modules")), 8 * 4 + 1);
  family.directions[1].at(kHead + ".weight").values[3] += 1;
  family.write_direction("direction-1", family.directions[1]);
  expect_error(ErrorKind::invalid_input, AllOf(HasSubstr("the journal is of other weights"), HasSubstr(kHead)),
               [&] { run(options); });
}

/// Reports of audits and of merges hold what was found.
TEST_F(WholeWeights, StayInAFile) {
  const auto report = run(family.probe_options(true));
  const auto path = family.directory / "report.h5";
  report::write_hdf5(report, path);
  expect_same(report::read_hdf5(path), report);
}

}  // namespace
}  // namespace winnow::pipeline
