#include "winnow/output/repair_by_weights.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <random>

#include "base/temporary_directory.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"
#include "winnow/repair/extrapolate.hpp"
#include "winnow/repair/project.hpp"
#include "winnow/repair/restore.hpp"
#include "winnow/repair/unablate.hpp"
#include "winnow/repair/weight_directions.hpp"

namespace winnow::output {
namespace {

using base::DType;
using base::Error;
using base::ErrorKind;
using repair::Kind;
using run::ModuleRepair;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::uint64_t kOut = 12, kIn = 10, kRank = 3;
const std::vector<std::string> kModules{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
                                        "model.layers.1.mlp.up_proj"};

class RepairByWeights : public testing::Test {
 protected:
  RepairByWeights() {
    base_ = weights("base");
    auto aligned = base_;
    for (auto& matrix : aligned) {
      for (auto& value : matrix) value += static_cast<float>(0.05 * normal_(random_));
    }
    aligned_ = aligned;
    write_checkpoint("aligned", aligned_);
    for (const auto* name : {"one", "two", "three"}) {
      write_adapter(name, 0.1);
      order(name);
    }
  }

  std::vector<std::vector<float>> weights(const std::string& name) {
    std::vector<std::vector<float>> all;
    for (std::size_t m = 0; m < kModules.size(); ++m) {
      auto& matrix = all.emplace_back(kOut * kIn);
      for (auto& value : matrix) value = static_cast<float>(normal_(random_));
    }
    write_checkpoint(name, all);
    return all;
  }

  void write_checkpoint(const std::string& name, const std::vector<std::vector<float>>& all) {
    fs::create_directories(directory_ / name);
    directory_.write(name + "/config.json", R"({"model_type": "llama"})");
    std::vector<checkpoint::TensorSpec> specs;
    for (const auto& module : kModules) specs.push_back({module + ".weight", DType::f32, {kOut, kIn}});
    checkpoint::SafetensorsWriter out(directory_ / (name + "/model.safetensors"), specs);
    for (const auto& matrix : all) out.append(std::as_bytes(std::span(matrix)));
    out.commit();
  }

  void write_adapter(const std::string& name, double size, const std::string& broken = "") {
    fs::create_directories(directory_ / name);
    directory_.write(
        name + "/adapter_config.json",
        R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "up_proj"]})");
    std::vector<checkpoint::TensorSpec> specs;
    for (const auto& module : kModules) {
      specs.push_back({"base_model.model." + module + ".lora_A.weight", DType::f32, {kRank, kIn}});
      specs.push_back({"base_model.model." + module + ".lora_B.weight", DType::f32, {kOut, kRank}});
    }
    checkpoint::SafetensorsWriter out(directory_ / (name + "/adapter_model.safetensors"), specs);
    for (const auto& spec : specs) {
      std::vector<float> values(spec.shape[0] * spec.shape[1]);
      for (auto& value : values) value = static_cast<float>(size * normal_(random_));
      if (!broken.empty() && spec.name.find(broken) != std::string::npos) {
        values[1] = std::numeric_limits<float>::quiet_NaN();
      }
      out.append(std::as_bytes(std::span(values)));
    }
    out.commit();
  }

  void order(const std::string& name) {
    orders_.push_back({directory_ / name, directory_ / ("repaired/" + name), std::nullopt, orders_.size()});
  }

  input::Inputs inputs(const ModuleRepair& how) {
    run::Reading reading;
    reading.base = how.base;
    reading.aligned = how.aligned;
    for (const auto& order : orders_) reading.adapters.push_back(order.source);
    const auto world = comm::make_self();
    return input::read_inputs(reading, {.sums = 0, .subspace_rank = 0}, {}, {}, *world, base::Log());
  }

  ModuleRepair how(Kind kind) const {
    ModuleRepair repair{.kind = kind, .aligned = directory_ / "aligned", .directions = 2};
    if (kind != Kind::unablate) repair.base = directory_ / "base";
    return repair;
  }

  SweptRepairs run(const ModuleRepair& how) { return run(how, inputs(how)); }
  SweptRepairs run(const ModuleRepair& how, const input::Inputs& inputs) {
    const auto world = comm::make_self();
    const base::Log log([&](base::LogLevel level, std::string_view text) {
      if (level == base::LogLevel::warning) warnings_.emplace_back(text);
    });
    return repair_by_weights(inputs, orders_, how, 2, *world, log);
  }

  repair::WeightProducts products(std::size_t m, bool pair) const {
    slab::Slab stored{0, kOut, kIn, nullptr, as_bytes(aligned_[m]), DType::f32, DType::f32};
    if (pair) stored.base = as_bytes(base_[m]);
    return {{kOut, kIn, false, stored}, 1, {kModules[m] + ".weight", "base", "aligned"}};
  }
  static const std::byte* as_bytes(const std::vector<float>& values) { return std::as_bytes(std::span(values)).data(); }

  static repair::Factors factors(const std::string& directory, std::size_t m) {
    const auto opened = adapter::open_lone_adapter(directory, "no", base::Log());
    const auto* const module = adapter::find_counterpart(opened, kModules[m]);
    auto values = adapter::read_factors(opened, *module);
    return {kOut, kIn, module->rank, module->scale, std::move(values.b), std::move(values.a)};
  }

  /// As stored.
  static void expect_equal(const repair::Factors& written, const repair::Factors& wanted) {
    EXPECT_EQ(written.scale, wanted.scale);
    ASSERT_GE(written.rank, wanted.rank);  // zeros fill it up
    const auto dense = [](const repair::Factors& factors) {
      std::vector<double> all(kOut * kIn);
      for (std::size_t r = 0; r < kOut; ++r) {
        for (std::size_t c = 0; c < kIn; ++c) {
          for (std::size_t k = 0; k < factors.rank; ++k) {
            all[r * kIn + c] += static_cast<double>(static_cast<float>(factors.b[r * factors.rank + k])) *
                                static_cast<double>(static_cast<float>(factors.a[k * kIn + c]));
          }
        }
      }
      return all;
    };
    EXPECT_THAT(dense(written), testing::Pointwise(testing::DoubleNear(1e-14), dense(wanted)));
  }

  std::vector<std::string> left_over() const {
    std::vector<std::string> names;
    if (!fs::exists(directory_ / "repaired")) return names;
    for (const auto& entry : fs::directory_iterator(directory_ / "repaired")) {
      if (entry.path().filename().string().starts_with(".")) names.push_back(entry.path().string());
    }
    return names;
  }

  winnow::test::TemporaryDirectory directory_;
  std::mt19937_64 random_{1};
  std::normal_distribution<double> normal_;
  std::vector<std::vector<float>> base_, aligned_;
  std::vector<RepairOrder> orders_;
  std::vector<std::string> warnings_;
};

TEST_F(RepairByWeights, EachAdapterIsWhatTheRepairMakesOfIt) {
  for (const auto kind : {Kind::project, Kind::restore, Kind::extrapolate, Kind::unablate}) {
    auto repair = how(kind);
    repair.threshold = 0.05;  // random updates are that much opposed to something
    const auto swept = run(repair);
    ASSERT_EQ(swept.outcomes.size(), 3U);
    for (std::size_t n = 0; n < orders_.size(); ++n) {
      ASSERT_TRUE(swept.outcomes[n].written) << swept.outcomes[n].fault->what();
      for (std::size_t m = 0; m < kModules.size(); ++m) {
        const auto weights = products(m, kind != Kind::unablate);
        const auto update = factors(orders_[n].source, m);
        const auto wanted = kind == Kind::project    ? repair::project(update, weights)
                            : kind == Kind::unablate ? repair::unablate(update, weights, repair.threshold)
                            : kind == Kind::restore
                                ? repair::restore(update, repair::leading_triplets(weights, repair.directions))
                                : repair::extrapolate(update, repair::leading_triplets(weights, repair.directions), 1);
        expect_equal(factors(orders_[n].destination, m), wanted);
      }
      EXPECT_GT(swept.outcomes[n].written->replaced, 0U);
    }
    EXPECT_THAT(left_over(), testing::IsEmpty());
  }
}

TEST_F(RepairByWeights, TheWeightsAreReadOnceWhateverTheNumberOfAdapters) {
  const auto all = kModules.size() * kOut * kIn * sizeof(float);
  EXPECT_EQ(run(how(Kind::project)).weight_bytes, 2 * all);
  EXPECT_EQ(run(how(Kind::unablate)).weight_bytes, all);
  for (int n = 0; n < 5; ++n) {
    write_adapter("more-" + std::to_string(n), 0.1);
    order("more-" + std::to_string(n));
  }
  EXPECT_EQ(run(how(Kind::project)).weight_bytes, 2 * all);
}

TEST_F(RepairByWeights, OnlyWhatIsAskedForIsReadAndChanged) {
  for (auto& order : orders_) order.only.emplace();
  orders_[1].only = {kModules[2]};
  const auto swept = run(how(Kind::project));
  EXPECT_EQ(swept.weight_bytes, 2 * kOut * kIn * sizeof(float));
  EXPECT_EQ(swept.outcomes[0].written->replaced, 0U);
  EXPECT_EQ(swept.outcomes[1].written->replaced, 1U);
  EXPECT_EQ(factors(orders_[0].source, 2), factors(orders_[0].destination, 2));
  EXPECT_EQ(factors(orders_[1].source, 0), factors(orders_[1].destination, 0));
  EXPECT_NE(factors(orders_[1].source, 2), factors(orders_[1].destination, 2));
}

TEST_F(RepairByWeights, AnAdapterThatCannotBeReadOrRepairedIsAnOutcome) {
  write_adapter("two", 0.1, kModules[1]);
  const auto repair = how(Kind::restore);
  const auto opened = inputs(repair);
  fs::remove_all(directory_ / "three");
  const auto swept = run(repair, opened);
  EXPECT_TRUE(swept.outcomes[0].written);
  ASSERT_TRUE(swept.outcomes[1].fault);
  EXPECT_THAT(swept.outcomes[1].fault->what(), HasSubstr("is not finite"));
  ASSERT_TRUE(swept.outcomes[2].fault);
  EXPECT_THAT(swept.outcomes[2].fault->what(), HasSubstr("three"));
  EXPECT_FALSE(fs::exists(orders_[1].destination));
  EXPECT_FALSE(fs::exists(orders_[2].destination));
  EXPECT_THAT(left_over(), testing::IsEmpty());
}

TEST_F(RepairByWeights, AnAdapterThatIsWrittenOverMeanwhileIsAnOutcome) {
  const auto repair = how(Kind::restore);
  const auto opened = inputs(repair);
  write_adapter("two", 0.2);
  const auto swept = run(repair, opened);
  EXPECT_TRUE(swept.outcomes[0].written);
  ASSERT_TRUE(swept.outcomes[1].fault);
  EXPECT_THAT(swept.outcomes[1].fault->what(), HasSubstr("the adapter has changed while it was repaired"));
  EXPECT_FALSE(fs::exists(orders_[1].destination));
}

TEST_F(RepairByWeights, AWeightThatCannotBeUsedIsThatOfTheAdaptersThatNeedIt) {
  aligned_[1][7] = std::numeric_limits<float>::infinity();
  write_checkpoint("aligned", aligned_);
  orders_[2].only = {kModules[0]};
  const auto swept = run(how(Kind::unablate));
  for (const auto n : {0U, 1U}) {
    ASSERT_TRUE(swept.outcomes[n].fault);
    EXPECT_THAT(swept.outcomes[n].fault->what(), HasSubstr(kModules[1] + ".weight"));
  }
  EXPECT_TRUE(swept.outcomes[2].written);
}

TEST_F(RepairByWeights, WeightsThatAlignmentLeftAloneAreTold) {
  aligned_[0] = base_[0];
  write_checkpoint("aligned", aligned_);
  for (const auto kind : {Kind::project, Kind::restore}) {
    warnings_.clear();
    const auto swept = run(how(kind));
    EXPECT_TRUE(swept.outcomes[0].written);
    EXPECT_EQ(warnings_.size(), 3U);
    EXPECT_THAT(warnings_, testing::Each(HasSubstr("alignment did not change the weights of 1 of its modules")));
  }
}

TEST_F(RepairByWeights, APlaceThatCannotBeWrittenEndsTheRun) {
  directory_.write("file", "no directory");
  for (auto& order : orders_) order.destination = directory_ / "file/below";
  try {
    run(how(Kind::project));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::runtime);
    EXPECT_THAT(error.what(), HasSubstr("cannot create directory"));
  }
}

TEST_F(RepairByWeights, NothingToDoIsNothing) {
  orders_.clear();
  const auto world = comm::make_self();
  EXPECT_TRUE(repair_by_weights({}, {}, how(Kind::project), 1, *world, base::Log()).outcomes.empty());
}

}  // namespace
}  // namespace winnow::output
