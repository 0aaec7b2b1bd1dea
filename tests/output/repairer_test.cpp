#include "winnow/output/repairer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <filesystem>
#include <map>
#include <random>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "svd.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"
#include "winnow/pipeline/repair.hpp"

namespace winnow::output {
namespace {

using base::DType;
using base::ErrorKind;
using repair::Kind;
using run::ModuleRepair;
using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kQ = "model.layers.0.self_attn.q_proj", kV = "model.layers.0.self_attn.v_proj",
                  kUp = "model.layers.1.mlp.up_proj";
constexpr const char* kConfig =
    R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "up_proj"]})";
constexpr const char* kPatterns = R"({"peft_type": "LORA", "r": 8, "lora_alpha": 6, "use_rslora": true,
    "target_modules": ["q_proj", "v_proj", "up_proj"], "rank_pattern": {".*_proj": 3}, "alpha_pattern": {"v_proj": 2.5}})";

struct Module {
  std::string name;
  Eigen::Index out, in, rank;
};

class RepairerByProbes : public testing::Test {
 protected:
  /// Random factors, about `by` in size.
  std::string make(const std::string& name, const std::vector<Module>& modules, DType dtype = DType::f32,
                   const char* config = kConfig, double by = 0.1) {
    fs::create_directories(directory_ / name);
    directory_.write(name + "/adapter_config.json", config);
    std::vector<checkpoint::TensorSpec> specs;
    for (const auto& module : modules) {
      const auto key = prefix_ + module.name;
      specs.push_back({key + ".lora_A.weight", dtype, {size(module.rank), size(module.in)}});
      specs.push_back({key + ".lora_B.weight", dtype, {size(module.out), size(module.rank)}});
    }
    checkpoint::SafetensorsWriter out(directory_ / (name + "/adapter_model.safetensors"), specs);
    std::normal_distribution<double> normal(0, by);
    for (const auto& spec : specs) {
      std::vector<double> values(spec.shape[0] * spec.shape[1]);
      for (auto& value : values) value = normal(random_);
      out.append(adapter::encoded(dtype, values, spec.name));
    }
    out.commit();
    return directory_ / name;
  }

  /// What PEFT would add to the weights, by module.
  static std::map<std::string, Matrix> updates(const std::string& path) {
    std::map<std::string, Matrix> all;
    const auto opened = adapter::open_lone_adapter(path, "no", base::Log());
    for (const auto& module : opened.modules) {
      const auto values = adapter::read_factors(opened, module);
      all[module.adapter_module()] = module.scale * matrix(values.b, module.out_features, module.rank) *
                                     matrix(values.a, module.rank, module.in_features);
    }
    if (path.ends_with("repaired")) {
      EXPECT_THAT(opened.warnings, testing::Not(HasSubstr("another rank")));
    }
    return all;
  }
  static Matrix matrix(const std::vector<double>& values, std::uint64_t rows, std::uint64_t columns) {
    return Eigen::Map<const RowMajor>(values.data(), static_cast<Eigen::Index>(rows),
                                      static_cast<Eigen::Index>(columns));
  }
  static std::uint64_t size(Eigen::Index value) { return static_cast<std::uint64_t>(value); }

  static probes::Source harmful(const std::string& path) {
    return {probes::Effect::harmful, probes::Form::adapter, path};
  }
  /// A folder shaped like a checkpoint, of dense matrices.
  std::string make_direction(const std::string& name, const std::map<std::string, Matrix>& matrices,
                             DType dtype = DType::f32) {
    fs::create_directories(directory_ / name);
    std::vector<checkpoint::TensorSpec> specs;
    for (const auto& [module, matrix] : matrices) {
      specs.push_back({module + ".weight", dtype, {size(matrix.rows()), size(matrix.cols())}});
    }
    checkpoint::SafetensorsWriter out(directory_ / (name + "/model.safetensors"), specs);
    for (const auto& [module, matrix] : matrices) {
      const RowMajor rows = matrix;
      out.append(adapter::encoded(dtype, std::vector<double>(rows.data(), rows.data() + rows.size()), module));
    }
    out.commit();
    return directory_ / name;
  }
  static probes::Source harmful_direction(const std::string& path) {
    return {probes::Effect::harmful, probes::Form::direction, path};
  }
  Matrix dense(Eigen::Index rows, Eigen::Index columns) {
    std::normal_distribution<double> normal;
    return Matrix::NullaryExpr(rows, columns, [&] { return normal(random_); });
  }
  adapter::WrittenReplacements repair(const std::string& source, const ModuleRepair& how) {
    return write_repaired_adapter(*make_repairer(how, base::Log()), source, output(), std::nullopt, base::Log());
  }
  /// Of probes of which one is a direction, as winnow prune does it.
  adapter::WrittenReplacements repair_along(const std::string& source, const ModuleRepair& how) {
    const auto world = comm::make_self();
    const auto result = pipeline::repair({.adapter = source, .output = output(), .repair = how}, *world, base::Log());
    EXPECT_GT(result.weight_bytes, 0U);
    return result.adapters.front().outcome.written.value();
  }
  std::string output() const { return directory_ / "repaired"; }
  static std::string bytes(const std::string& path) {
    return winnow::test::read_whole(path + "/adapter_model.safetensors");
  }

  winnow::test::TemporaryDirectory directory_;
  std::string prefix_ = "base_model.model.";
  std::mt19937_64 random_{1};
};

/// Of a report that selects one half of an expert's gate_up_proj, as checkpoints store it.
TEST_F(RepairerByProbes, OfHalfAnExpertChangesItsOutputsAlone) {
  const std::string experts = "model.layers.0.mlp.experts";
  constexpr const char* kOfExperts = R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": [],
      "target_parameters": ["experts.gate_up_proj"]})";
  for (const Eigen::Index count : {1, 4}) {
    const auto source = make("experts", {{experts, 10, 8, 3 * count}}, DType::f32, kOfExperts);
    const auto before = updates(source);
    for (const auto& [half, first] : {std::pair("up_proj", 5), std::pair("gate_proj", 0), {"w3", 5}, {"w1", 0}}) {
      const ModuleRepair scale{.kind = Kind::scale, .factor = 0.5};
      const std::vector only{experts + ".0." + half};
      write_repaired_adapter(*make_repairer(scale, base::Log()), source, output(), only, base::Log());
      for (const auto& [name, update] : updates(output())) {
        auto expected = before.at(name);
        if (name == experts + ".0.gate_up_proj") expected.middleRows(first, 5) *= 0.5;
        EXPECT_LT((update - expected).norm(), 1e-6 * expected.norm()) << name << " " << half << " of " << count;
      }
    }
    const auto probe = make("probe", {{experts, 10, 8, 3 * count}}, DType::f32, kOfExperts);
    const ModuleRepair block{.kind = Kind::deflect, .probes = {harmful(probe)}, .directions = 2};
    winnow::test::expect_error(ErrorKind::invalid_input, HasSubstr("one half of an expert"), [&] {
      write_repaired_adapter(*make_repairer(block, base::Log()), source, output(), std::vector{experts + ".0.up_proj"},
                             base::Log());
    });
  }
}

TEST_F(RepairerByProbes, IsTheDenseFormula) {
  for (const auto& [dtype, tolerance] :
       {std::pair(DType::f64, 1e-12), {DType::f32, 1e-6}, {DType::f16, 3e-3}, {DType::bf16, 2e-2}}) {
    for (const auto* config : {kConfig, kPatterns}) {
      const auto source = make("source", {{kQ, 12, 10, 3}, {kV, 6, 10, 3}, {kUp, 14, 10, 3}}, dtype, config);
      const auto one = make("one", {{kQ, 12, 10, 5}, {kV, 6, 10, 5}}, DType::f32);
      const auto two = make("two", {{kQ, 12, 10, 2}}, DType::bf16);
      const auto before = updates(source), first = updates(one), second = updates(two);
      repair(source, {.kind = Kind::subtract, .probes = {harmful(one), harmful(two)}, .lambda = 0.5});
      auto after = updates(output());
      const auto expect = [&](const std::string& module, const Matrix& wanted) {
        EXPECT_LT((after.at(module) - wanted).norm(), tolerance * before.at(module).norm()) << module;
      };
      expect(kQ, before.at(kQ) - 0.5 * first.at(kQ) - 0.5 * second.at(kQ));
      expect(kV, before.at(kV) - 0.5 * first.at(kV));
      EXPECT_EQ(after.at(kUp), before.at(kUp));
      repair(source, {.probes = {harmful(one)}, .directions = 2});
      after = updates(output());
      for (const auto& module : {kQ, kV}) {
        const Eigen::JacobiSVD<Eigen::MatrixXd> svd(first.at(module), Eigen::ComputeThinU | Eigen::ComputeThinV);
        const Matrix u = svd.matrixU().leftCols(2), v = svd.matrixV().leftCols(2);
        expect(module, before.at(module) - u * (u.transpose() * before.at(module) * v) * v.transpose());
      }
      EXPECT_EQ(after.at(kUp), before.at(kUp));
    }
  }
}

TEST_F(RepairerByProbes, LeavesWhatNoProbeReaches) {
  const auto source = make("source", {{kQ, 8, 8, 3}, {kV, 8, 8, 3}});
  const auto zero = make("zero", {{kQ, 8, 8, 2}, {kV, 8, 8, 2}}, DType::f32, kConfig, 0);
  for (const auto kind : {Kind::deflect, Kind::subtract}) {
    const auto written = repair(source, {.kind = kind, .probes = {harmful(zero)}});
    EXPECT_EQ(written.replaced, 0U);
    EXPECT_EQ(bytes(output()), bytes(source));
    EXPECT_EQ(winnow::test::read_whole(output() + "/adapter_config.json"), kConfig);
  }
}

TEST_F(RepairerByProbes, FindsModulesUnderOtherPrefixes) {
  const auto source = make("source", {{kQ, 8, 8, 3}});
  const auto probe = make("probe", {{"model.language_model.layers.0.self_attn.q_proj", 8, 8, 3}});
  EXPECT_EQ(repair(source, {.probes = {harmful(probe)}}).replaced, 1U);
}

TEST_F(RepairerByProbes, RefusesWhatDoesNotFit) {
  const auto source = make("source", {{kQ, 8, 6, 3}}, DType::f16, kConfig, 200);
  const auto other = make("other", {{kQ, 6, 8, 3}});
  const auto stranger = make("stranger", {{"model.floors.0.q_proj", 8, 6, 3}});
  const auto fitting = make("fitting", {{kQ, 8, 6, 3}}, DType::f32, kConfig, 1e10);
  const auto refused = [&](const std::string& probe, const auto& line) {
    winnow::test::expect_error(ErrorKind::invalid_input, line, [&] {
      repair(source, {.kind = Kind::subtract, .probes = {harmful(probe)}, .lambda = 100});
    });
    EXPECT_FALSE(fs::exists(output()));
  };
  refused(other, HasSubstr("q_proj has another shape than the adapter's: " + other));
  refused(stranger, HasSubstr("the probe has no module in common with the adapter: " + stranger));
  refused(fitting, HasSubstr("lora_A of " + kQ + " does not fit its dtype after the repair"));
  refused(directory_ / "absent", HasSubstr("the probe cannot be used: no such adapter directory: "));
}

TEST_F(RepairerByProbes, RefusesWhatCannotBeMeant) {
  const ModuleRepair sound{.probes = {harmful("p")}};
  check(sound);
  const auto refused = [](const ModuleRepair& repair, const char* text) {
    winnow::test::expect_error(ErrorKind::usage, HasSubstr(text), [&] { check(repair); });
  };
  refused({}, "this repair needs a probe");
  auto repair = sound;
  repair.probes.push_back({probes::Effect::safe, probes::Form::adapter, "q"});
  refused(repair, "a safe one is to stay in: q");
  repair = sound;
  repair.directions = 65;
  refused(repair, "cannot deflect from 65 directions; expected --directions 1 to 64");
  repair = sound;
  repair.lambda = 101;
  refused(repair, "--lambda 101 is out of range");
}

TEST_F(RepairerByProbes, DeflectsFromADirectionAsFromItsSingularVectors) {
  const auto source = make("source", {{kQ, 12, 10, 3}, {kV, 6, 10, 3}, {kUp, 14, 10, 3}});
  const auto before = updates(source);
  // A tensor of no module of the adapter, and a module that the direction lacks.
  const std::map<std::string, Matrix> matrices{{kQ, dense(12, 10)}, {kV, dense(6, 10)}, {"model.norm", dense(1, 10)}};
  for (const auto dtype : {DType::f32, DType::bf16}) {
    const auto direction = make_direction("direction", matrices, dtype);
    const auto written = repair_along(source, {.probes = {harmful_direction(direction)}, .directions = 2});
    EXPECT_EQ(written.replaced, 2U);
    EXPECT_EQ(written.kept, 1U);
    const auto after = updates(output());
    EXPECT_EQ(after.at(kUp), before.at(kUp));
    for (const auto& module : {kQ, kV}) {
      const Eigen::JacobiSVD<Eigen::MatrixXd> svd(matrices.at(module), Eigen::ComputeThinU | Eigen::ComputeThinV);
      const Matrix u = svd.matrixU().leftCols(2), v = svd.matrixV().leftCols(2);
      const Matrix wanted = before.at(module) - u * (u.transpose() * before.at(module) * v) * v.transpose();
      EXPECT_LT((after.at(module) - wanted).norm(), (dtype == DType::f32 ? 1e-5 : 2e-2) * before.at(module).norm());
    }
    fs::remove_all(directory_ / "direction");
  }
}

TEST_F(RepairerByProbes, ADirectionOfAnAdaptersRankIsThatAdapter) {
  const auto source = make("source", {{kQ, 12, 10, 3}}), probe = make("probe", {{kQ, 12, 10, 2}});
  const auto before = updates(source).at(kQ);
  const auto direction = make_direction("direction", {{kQ, updates(probe).at(kQ)}});
  repair(source, {.probes = {harmful(probe)}, .directions = 4});
  const auto by_adapter = updates(output()).at(kQ);
  repair_along(source, {.probes = {harmful_direction(direction)}, .directions = 4});
  EXPECT_LT((updates(output()).at(kQ) - by_adapter).norm(), 1e-5 * before.norm());
  // What lies in both of them is taken out once.
  repair_along(source, {.probes = {harmful(probe), harmful_direction(direction)}, .directions = 4});
  EXPECT_LT((updates(output()).at(kQ) - by_adapter).norm(), 1e-4 * before.norm());
}

TEST_F(RepairerByProbes, DirectionsThatCannotBeUsedAreRefused) {
  const auto source = make("source", {{kQ, 12, 10, 3}});
  const auto refused = [&](const std::string& direction, const std::string& text) {
    winnow::test::expect_error(ErrorKind::invalid_input, HasSubstr(text),
                               [&] { repair_along(source, {.probes = {harmful_direction(direction)}}); });
    EXPECT_FALSE(fs::exists(output()));
  };
  refused(directory_ / "absent", "absent");
  refused(make_direction("other", {{kUp, dense(14, 10)}}), "other");
  refused(make_direction("shape", {{kQ, dense(12, 11)}}), "shape");
  auto huge = dense(12, 10);
  huge(3, 4) = 1e12;
  refused(make_direction("huge", {{kQ, huge}}), kQ + ".weight");
  winnow::test::expect_error(ErrorKind::usage, HasSubstr("a direction of the weights cannot be subtracted"), [&] {
    repair(source, {.kind = Kind::subtract, .probes = {harmful_direction("anywhere")}});
  });
}

}  // namespace
}  // namespace winnow::output
