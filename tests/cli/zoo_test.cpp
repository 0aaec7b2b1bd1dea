// A zoo of 200 adapters through the library: of mixed rank, targets and dtype, one in ten broken in one of eleven ways.
// The sound ones must score as each does alone, the broken ones stand aside with their reason, and the weights are read
// once.
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "input/tiny_family.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using test::Matrix;
using test::Tensors;
using test::TinyFamily;
using ::testing::HasSubstr;

constexpr int kAdapters = 200, kEachBroken = 2;

/// What an adapter is before it is broken.
struct Sound {
  nlohmann::ordered_json config;
  Tensors tensors;
};

/// Rank 1 to 4; every third adapter lacks some layers.
Sound sound(int n) {
  const auto rank = static_cast<std::uint64_t>(1 + n % 4);
  Sound adapter;
  adapter.config = {{"peft_type", "LORA"}, {"r", rank}, {"lora_alpha", 2 + n % 3}, {"target_modules", {"up_proj"}}};
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
    if (n % 3 == 1 && layer % 5 == n % 5) continue;
    const auto seed = static_cast<unsigned>(1000 * n + 2 * layer);
    adapter.tensors[TinyFamily::key(layer, "lora_A")] = Matrix::random(rank, TinyFamily::kIn, seed);
    adapter.tensors[TinyFamily::key(layer, "lora_B")] = Matrix::random(TinyFamily::kOut, rank, seed + 1);
  }
  return adapter;
}

/// As float32, or every other one as bfloat16.
void write_weights(const std::string& path, const Tensors& tensors, bool half) {
  if (!half) return test::write_tensors(path, tensors);
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& [name, matrix] : tensors) specs.push_back({name, base::DType::bf16, {matrix.rows, matrix.columns}});
  checkpoint::SafetensorsWriter writer(path, specs);
  for (const auto& [name, matrix] : tensors) {
    std::vector<std::uint16_t> rounded;
    for (const float value : matrix.values) rounded.push_back(base::float_to_bf16(value));
    writer.append(std::as_bytes(std::span(rounded)));
  }
  writer.commit();
}

/// A way to break an adapter, before or after it is written, and what its quarantine must say.
struct Fault {
  const char *name, *reason;
  std::function<void(Sound&)> before;
  std::function<void(const fs::path&)> after;
};

void overwrite(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::vector<Fault> faults() {
  const auto weights = [](const fs::path& directory) { return directory / "adapter_model.safetensors"; };
  return {
      {"truncated",
       "file is truncated",
       {},
       [=](const fs::path& directory) { fs::resize_file(weights(directory), fs::file_size(weights(directory)) - 7); }},
      {"garbage-header",
       "header is not valid JSON",
       {},
       [=](const fs::path& directory) {
         std::fstream(weights(directory), std::ios::binary | std::ios::in | std::ios::out).seekp(8) << "not{json";
       }},
      {"no-config",
       "adapter_config.json is missing",
       {},
       [](const fs::path& directory) { fs::remove(directory / "adapter_config.json"); }},
      {"config-is-no-json",
       "adapter config is not valid JSON",
       {},
       [](const fs::path& directory) {
         overwrite(directory / "adapter_config.json", R"({"peft_type": "LORA", "r": )");
       }},
      {"pickle",
       "adapter_model.bin is a pickle, which can run any code when opened",
       {},
       [=](const fs::path& directory) {
         fs::remove(weights(directory));
         overwrite(directory / "adapter_model.bin", "\x80\x02}q");
       }},
      {"dora", "DoRA without its magnitude", [](Sound& adapter) { adapter.config["use_dora"] = true; }, {}},
      {"pissa",
       "init_lora_weights is pissa: PEFT changes the base weights at load",
       [](Sound& adapter) { adapter.config["init_lora_weights"] = "pissa"; },
       {}},
      {"nan",
       "lora_B of model.layers.6.mlp.up_proj is not finite at element 1",
       [](Sound& adapter) { adapter.tensors.at(TinyFamily::key(6, "lora_B")).values[1] = std::nanf(""); },
       {}},
      {"wrong-shape",
       "module model.layers.7.mlp.up_proj does not fit the checkpoint",
       [](Sound& adapter) {
         const auto rank = adapter.config["r"].get<std::uint64_t>();
         adapter.tensors.at(TinyFamily::key(7, "lora_B")) = Matrix::random(TinyFamily::kOut + 1, rank, 1);
       },
       {}},
      {"rank-0",
       "r is 0 in adapter_config.json: a rank must be at least 1",
       [](Sound& adapter) { adapter.config["r"] = 0; },
       {}},
      {"other-modules",
       "no tensor of the checkpoint matches module model.decoder.q_proj",
       [](Sound& adapter) {
         adapter.tensors = {{"base_model.model.model.decoder.q_proj.lora_A.weight", Matrix::random(1, 10, 1)},
                            {"base_model.model.model.decoder.q_proj.lora_B.weight", Matrix::random(12, 1, 2)}};
       },
       {}},
  };
}

double cell(const report::Report& report, const report::Metric& metric, std::size_t n, std::size_t m) {
  return metric.values[n * report.modules.size() + m];
}

std::uint64_t bytes_of(const report::Report& report, std::string_view stage) {
  std::uint64_t bytes = 0;
  for (const auto& row : report.run) bytes += row.stage == stage ? row.bytes_read : 0;
  return bytes;
}

class Zoo : public ::testing::Test {
 protected:
  Zoo() {
    std::string manifest = "# a directory that lacks its config is found by a manifest alone\n";
    const auto ways = faults();
    for (int n = 0; n < kAdapters; ++n) {
      auto adapter = sound(n);
      // Broken ones among the others, both of a kind far apart; of the last two kinds one each.
      const auto way = static_cast<std::size_t>(n / 10 == 19 ? 10 : n / 10 % 10);
      const auto* fault = n % 10 == 3 ? &ways[way] : nullptr;
      if (fault != nullptr) adapter = sound(3 * n);  // on all layers
      if (fault != nullptr && fault->before) fault->before(adapter);
      const auto name = std::string(fault == nullptr ? "sound" : fault->name) + "-" + std::to_string(n);
      const fs::path path = family_.directory / ("zoo/" + name);
      fs::create_directories(path);
      overwrite(path / "adapter_config.json", adapter.config.dump());
      write_weights(path / "adapter_model.safetensors", adapter.tensors, n % 2 == 0);
      if (fault != nullptr && fault->after) fault->after(path);
      if (fault != nullptr) reasons_[name] = fault->reason;
      manifest += "zoo/" + name + "\n";
    }
    manifest_ = family_.directory.write("manifest", manifest);
  }

  report::Report run(const run::AuditOptions& options) const {
    const auto world = comm::make_self();
    return pipeline::audit(options, *world, {}).report;
  }

  TinyFamily family_;
  std::string manifest_;
  std::map<std::string, std::string> reasons_;  ///< of the broken ones, by name
};

TEST_F(Zoo, BrokenAdaptersStandAsideAndTheOthersScoreAsEachAlone) {
  auto options = family_.options({});
  options.read.zoo = manifest_;
  const auto zoo = run(options);
  ASSERT_EQ(zoo.adapters.size(), std::size_t{kAdapters});
  ASSERT_EQ(reasons_.size(), 10U * kEachBroken);

  std::size_t scored = 0, quarantined = 0;
  std::uint64_t weight_bytes = 0;
  for (std::size_t n = 0; n < zoo.adapters.size(); ++n) {
    const auto& row = zoo.adapters[n];
    const auto broken = reasons_.find(row.name);
    if (broken != reasons_.end()) {
      ++quarantined;
      EXPECT_EQ(row.status, "quarantined") << row.name;
      EXPECT_THAT(row.reason, HasSubstr(broken->second)) << row.name;
      for (const auto& metric : zoo.metrics) {
        if (!metric.categories.empty()) continue;  // codes, 0 for none
        for (std::size_t m = 0; m < zoo.modules.size(); ++m) EXPECT_TRUE(std::isnan(cell(zoo, metric, n, m)));
      }
      continue;
    }
    ++scored;
    ASSERT_EQ(row.status, "ok") << row.name << ": " << row.reason;
    options.read.zoo.clear();
    options.read.adapters = {row.path};
    const auto alone = run(options);
    for (const auto& metric : alone.metrics) {
      const auto* together = zoo.find_metric(metric.name);
      ASSERT_NE(together, nullptr);
      std::size_t present = 0;
      for (std::size_t m = 0; m < zoo.modules.size(); ++m) {
        const auto here = cell(zoo, *together, n, m);
        if (present < alone.modules.size() && alone.modules[present].name == zoo.modules[m].name) {
          const auto expected = cell(alone, metric, 0, present);
          EXPECT_NEAR(here, expected, 1e-6 * std::max(1.0, std::abs(expected))) << row.name << ' ' << metric.name;
          EXPECT_EQ(zoo.action[n * zoo.modules.size() + m], alone.action[present]) << row.name;
          ++present;
        } else {
          EXPECT_TRUE(metric.categories.empty() ? std::isnan(here) : here == 0) << row.name << ' ' << metric.name;
        }
      }
      EXPECT_EQ(present, alone.modules.size());
    }
    if (alone.modules.size() == zoo.modules.size()) weight_bytes = bytes_of(alone, "read");
  }
  EXPECT_EQ(scored, 180U);
  EXPECT_EQ(quarantined, 20U);
  EXPECT_EQ(weight_bytes, 8U * 2 * 12 * 10 * 4);
  EXPECT_EQ(bytes_of(zoo, "read"), weight_bytes) << "one pass over the weights, however many adapters";
}

}  // namespace
}  // namespace winnow
