// The files of a whole family: the same bytes however they are made, readable, and holding what was intended.
#include "winnow/synth/synth.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <thread>

#include "base/temporary_directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"
#include "winnow/synth/alignment_step.hpp"
#include "winnow/synth/truth.hpp"

namespace winnow::synth {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

SynthOptions small_family(std::string output) {
  SynthOptions options;
  options.shape = preset_shape("tiny");
  options.shape.layers = 2;
  options.adapters = 2;
  options.rank = 4;
  options.misaligned = 5;
  options.seed = 42;
  options.output = std::move(output);
  options.threads = 1;
  return options;
}

void make(const SynthOptions& options, int ranks = 1) {
  for (int rank = ranks - 1; rank >= 0; --rank) synthesise(options, rank, ranks, base::Log());
}

std::map<std::string, std::string> digests(const std::string& directory) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    all[fs::relative(entry.path(), directory).string()] = base::sha256_file(entry.path().string());
  }
  return all;
}

std::vector<double> read_tensor(const checkpoint::Catalogue& catalogue, const std::string& name) {
  const auto* location = catalogue.find(name);
  if (location == nullptr) throw std::runtime_error("no tensor " + name);
  const auto file = base::File::open_for_reading(catalogue.shards[location->shard].path);
  std::vector<std::byte> bytes(location->bytes);
  file.read_exact(location->offset, bytes);
  std::vector<double> values(location->bytes / base::element_bytes(location->dtype));
  base::to_double(location->dtype, bytes.data(), values.size(), values.data());
  return values;
}

TEST(Synthesise, SameBytesForAnyNumberOfRanksAndThreads) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "one");
  make(options);
  const auto reference = digests(options.output);
  EXPECT_GT(reference.size(), 12U);
  for (const int ranks : {2, 3, 5}) {
    options.output = directory / std::to_string(ranks);
    make(options, ranks);
    EXPECT_EQ(digests(options.output), reference) << ranks;
  }
  options.output = directory / "threads";
  options.threads = 3;
  make(options);
  EXPECT_EQ(digests(options.output), reference);
}

TEST(Synthesise, RanksMayRunAtTheSameTime) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "one");
  make(options);
  const auto reference = digests(options.output);
  options.output = directory / "together";
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < 4; ++rank) ranks.emplace_back([&, rank] { synthesise(options, rank, 4, base::Log()); });
  }
  EXPECT_EQ(digests(options.output), reference);
}

TEST(Synthesise, AnotherSeedIsAnotherFamily) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "a");
  make(options);
  const auto first = digests(options.output);
  options.output = directory / "b";
  options.seed = 43;
  make(options);
  auto second = digests(options.output);
  EXPECT_EQ(first.size(), second.size());
  for (const auto& [file, digest] : first) {
    const bool of_the_shape_only = file.ends_with("config.json") || file.ends_with("index.json");
    EXPECT_EQ(second[file] == digest, of_the_shape_only) << file;
  }
}

TEST(Synthesise, CheckpointsAreReadableAndOfTheRightShape) {
  const test::TemporaryDirectory directory;
  const auto options = small_family(directory / "f");
  make(options);
  std::vector<std::string> warnings;
  const base::Log log([&](base::LogLevel, std::string_view message) { warnings.emplace_back(message); });
  const auto base = checkpoint::read_checkpoint(options.output + "/base", log);
  const auto aligned = checkpoint::read_checkpoint(options.output + "/aligned", log);
  EXPECT_THAT(warnings, testing::IsEmpty());
  EXPECT_GE(base.shards.size(), 3U);
  EXPECT_GE(aligned.shards.size(), 3U);
  EXPECT_NE(base.shards.size(), aligned.shards.size());
  EXPECT_EQ(base.total_bytes(), checkpoint_bytes(options.shape));
  EXPECT_EQ(base.tensors.size(), aligned.tensors.size());
  for (const auto& module : linear_modules(options.shape)) {
    const auto* location = base.find(module.name + ".weight");
    ASSERT_NE(location, nullptr) << module.name;
    EXPECT_EQ(location->dtype, base::DType::bf16);
    EXPECT_EQ(location->shape, (std::vector<std::uint64_t>{module.out, module.in}));
  }
  const auto config = checkpoint::read_model_config(options.output + "/base");
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.num_hidden_layers, 2U);
  EXPECT_EQ(config.tie_word_embeddings, true);
}

TEST(Synthesise, TheAlignmentStepSurvivesRounding) {
  const test::TemporaryDirectory directory;
  const auto options = small_family(directory / "f");
  make(options);
  const auto base = checkpoint::read_checkpoint(options.output + "/base", {});
  const auto aligned = checkpoint::read_checkpoint(options.output + "/aligned", {});
  for (const auto& module : linear_modules(options.shape)) {
    const auto before = read_tensor(base, module.name + ".weight"),
               after = read_tensor(aligned, module.name + ".weight");
    const auto step = make_alignment_step(options.seed, module);
    double weight = 0, change = 0, mean = 0;
    for (std::size_t n = 0; n < before.size(); ++n) {
      weight += before[n] * before[n];
      change += (after[n] - before[n]) * (after[n] - before[n]);
      mean += before[n];
    }
    const auto size = static_cast<double>(before.size());
    EXPECT_NEAR(std::sqrt(weight / size) / base_std(module), 1.0, 0.05) << module.name;
    EXPECT_LT(std::abs(mean / size) / base_std(module), 5.0 / std::sqrt(size)) << module.name;
    EXPECT_NEAR(std::sqrt(change) / step.norm(module), 1.0, 0.06) << module.name;
    EXPECT_GT(std::sqrt(change / weight), 0.008) << module.name;
    EXPECT_LT(std::sqrt(change / weight), 0.045) << module.name;
    for (std::size_t j = 0; j < step.k; ++j) {  // u_jᵀ V q_j is σ_j and a little noise of the tail and the rounding
      double along = 0.0;
      for (std::uint64_t o = 0; o < module.out; ++o) {
        double row = 0.0;
        for (std::uint64_t i = 0; i < module.in; ++i) {
          row += (after[o * module.in + i] - before[o * module.in + i]) * step.right[j * module.in + i];
        }
        along += step.left[o * step.k + j] * row;
      }
      EXPECT_NEAR(along / step.sigma[j], 1.0, 0.2) << module.name << " direction " << j;
    }
  }
  for (const auto* same : {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight"}) {
    EXPECT_EQ(read_tensor(base, same), read_tensor(aligned, same)) << same;
  }
}

TEST(Synthesise, AdaptersHaveEveryRoleAndTruthNamesTheirModules) {
  const test::TemporaryDirectory directory;
  const auto options = small_family(directory / "f");
  make(options);
  for (const auto* adapter : {"adapter-000", "adapter-001"}) {
    const auto file = options.output + "/adapters/" + adapter + "/adapter_model.safetensors";
    const auto catalogue = checkpoint::read_safetensors_file(file);
    EXPECT_EQ(catalogue.tensors.size(), 28U);
    for (const auto& module : linear_modules(options.shape)) {
      const auto key = "base_model.model." + module.name;
      ASSERT_NE(catalogue.find(key + ".lora_A.weight"), nullptr);
      EXPECT_EQ(catalogue.find(key + ".lora_A.weight")->shape, (std::vector<std::uint64_t>{4, module.in}));
      EXPECT_EQ(catalogue.find(key + ".lora_B.weight")->shape, (std::vector<std::uint64_t>{module.out, 4}));
    }
  }
  const auto truth = read_truth(options.output + "/truth.json");
  EXPECT_EQ(truth.size(), 10U);
  EXPECT_EQ(std::count_if(truth.begin(), truth.end(), [](const Planted& p) { return p.adapter == "adapter-001"; }), 5);
}

TEST(Synthesise, MakesTheSameFamilyAgainInItsOwnDirectory) {
  const test::TemporaryDirectory directory;
  const auto options = small_family(directory / "f");
  make(options);
  const auto before = digests(options.output);
  fs::remove(options.output + "/truth.json");
  make(options);
  EXPECT_EQ(digests(options.output), before);
}

/// The message of the usage error that `options` meet.
std::string refusal(const SynthOptions& options) {
  try {
    make(options);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    return error.what();
  }
  return "accepted";
}

// 405B in bf16, twice, in a moment and a few megabytes: the catalogue is all that planning reads.
TEST(Synthesise, HeadersOnlyHaveTheShapesAndTakeNoRoom) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "family");
  options.shape = preset_shape("llama-3-405b");
  options.adapters = 1;
  options.misaligned = 0;
  options.headers_only = true;
  make(options);
  const auto catalogue = checkpoint::read_checkpoint(directory / "family/aligned", base::Log());
  const auto modules = linear_modules(options.shape);
  for (const auto& module : modules) {
    const auto* tensor = catalogue.find(module.name + ".weight");
    ASSERT_NE(tensor, nullptr) << module.name;
    EXPECT_EQ(tensor->shape, (std::vector<std::uint64_t>{module.out, module.in}));
  }
  std::uint64_t apparent = 0, blocks = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory / "family")) {
    struct stat status {};
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    if (entry.is_regular_file()) apparent += static_cast<std::uint64_t>(status.st_size);
    blocks += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  EXPECT_GT(apparent, 2 * std::uint64_t{800'000'000'000});
  EXPECT_LT(blocks, std::uint64_t{50'000'000});
  EXPECT_THAT(read_tensor(catalogue, "model.layers.125.self_attn.k_proj.weight"), testing::Each(0.0));
}

TEST(Synthesise, HeadersOnlyAreMarkedAndHoldNothingPlanted) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "family");
  make(options);
  options.headers_only = true;
  EXPECT_THAT(refusal(options), HasSubstr("cannot plant misaligned modules without weights"));
  options.misaligned = 0;
  EXPECT_THAT(refusal(options), HasSubstr("other options"));
}

TEST(Synthesise, RefusesADirectoryWithOtherThings) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "f");
  fs::create_directories(options.output);
  base::atomic_write_file(options.output + "/thesis.txt", "precious");
  EXPECT_THAT(refusal(options), HasSubstr("not empty"));
  EXPECT_EQ(digests(options.output).size(), 1U);  // nothing was written
}

TEST(Synthesise, RefusesTheDirectoryOfAnotherFamily) {
  const test::TemporaryDirectory directory;
  auto options = small_family(directory / "f");
  make(options);
  options.seed = 1;
  EXPECT_THAT(refusal(options), HasSubstr("other options"));
}

TEST(Synthesise, RefusesOptionsThatCannotBeMet) {
  const test::TemporaryDirectory directory;
  const auto with = [&](auto change) {
    auto options = small_family(directory / "f");
    change(options);
    return refusal(options);
  };
  EXPECT_THAT(with([](auto& o) { o.misaligned = 15; }), HasSubstr("at most 14"));
  EXPECT_THAT(with([](auto& o) { o.rank = 129; }), HasSubstr("from 1 to 128"));
  EXPECT_THAT(with([](auto& o) { o.rank = 0; }), HasSubstr("rank 0"));
  EXPECT_THAT(with([](auto& o) { o.adapters = 0; }), HasSubstr("0 adapters"));
  EXPECT_THAT(with([](auto& o) { o.shape.layers = 0; }), HasSubstr("0 layers"));
  EXPECT_THAT(with([](auto& o) { o.output.clear(); }), HasSubstr("output"));
  EXPECT_FALSE(fs::exists(directory / "f"));
}

}  // namespace
}  // namespace winnow::synth
