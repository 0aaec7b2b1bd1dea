#include "winnow/cache/score_pack.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::cache {
namespace {

namespace fs = std::filesystem;

ScorePack small_pack() {
  ScorePack pack;
  pack.settings = "settings";
  pack.weight_files["aligned 0"] = {10, 20, -30, 40};
  for (const char* name : {"0 q.weight", "1 k"}) {
    score::ModuleScore score;
    score.norms = {1.5, std::numeric_limits<double>::quiet_NaN()};
    score.aligned.sum = {7, 8};
    pack.tasks.push_back({name, score});
  }
  for (std::uint32_t n = 0; n < 3; ++n) {
    PackedAdapter adapter{"key" + std::to_string(n), {}};
    for (std::uint64_t t = 0; t <= n % 2; ++t) {
      score::LayerScore layer;
      layer.module = t;
      layer.adapter = n;
      layer.values = {1.0 + n, -0.0, static_cast<double>(t)};
      layer.dots = {0.25};
      layer.heads = {0.125, 0.5 * n};
      adapter.layers.push_back(layer);
    }
    pack.adapters.push_back(adapter);
  }
  return pack;
}

class Packs : public ::testing::Test {
 protected:
  std::string written(const ScorePack& pack) const {
    write_pack(pack, directory.path());
    const auto packs = find_packs(directory.path());
    EXPECT_EQ(packs.size(), 1U);
    return packs.at(0);
  }
  static void flip(const std::string& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const auto byte = static_cast<char>(file.get() ^ 16);
    file.seekp(at);
    file.put(byte);
  }

  test::TemporaryDirectory directory;
};

TEST_F(Packs, GiveBackWhatWasWritten) {
  const auto pack = small_pack();
  const auto found = PackReader::open(written(pack), "settings");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->weight_files(), pack.weight_files);
  ASSERT_EQ(found->tasks().size(), 2U);
  EXPECT_EQ(found->tasks()[1].name, "1 k");
  EXPECT_EQ(found->tasks()[1].score.aligned, pack.tasks[1].score.aligned);
  EXPECT_EQ(found->tasks()[1].score.norms[0], 1.5);
  for (const auto& adapter : pack.adapters) {
    EXPECT_TRUE(found->knows(adapter.key));
    const auto layers = found->layers_of(adapter.key);
    ASSERT_EQ(layers.size(), adapter.layers.size());
    for (std::size_t k = 0; k < layers.size(); ++k) {
      EXPECT_EQ(layers[k].module, adapter.layers[k].module);
      EXPECT_EQ(layers[k].values, adapter.layers[k].values);
      EXPECT_TRUE(std::signbit(layers[k].values[1]));
      EXPECT_EQ(layers[k].dots, adapter.layers[k].dots);
      EXPECT_EQ(layers[k].heads, adapter.layers[k].heads);
    }
  }
  EXPECT_FALSE(found->knows("key3"));
  EXPECT_TRUE(found->layers_of("key3").empty());
}

TEST_F(Packs, TheSameContentIsOneFile) {
  write_pack(small_pack(), directory.path());
  written(small_pack());
}

TEST_F(Packs, OfOtherSettingsAreNone) { EXPECT_FALSE(PackReader::open(written(small_pack()), "others")); }

TEST_F(Packs, WhereThereIsNoDirectoryThereAreNone) { EXPECT_TRUE(find_packs(directory / "nothing").empty()); }

TEST_F(Packs, NoBitOfTheHeadOrTheIndexMayChange) {
  const auto path = written(small_pack());
  const auto pack = PackReader::open(path, "settings");
  // The scores are at the end: those of four layers, less than 200 bytes each.
  const auto size = static_cast<std::streamoff>(fs::file_size(path));
  for (std::streamoff at = 0; at < size - 800; ++at) {
    flip(path, at);
    EXPECT_FALSE(PackReader::open(path, "settings")) << "byte " << at;
    flip(path, at);
  }
  EXPECT_TRUE(PackReader::open(path, "settings"));
}

TEST_F(Packs, ScoresOfWhichABitHasChangedAreNone) {
  const auto path = written(small_pack());
  flip(path, static_cast<std::streamoff>(fs::file_size(path)) - 3);  // the last adapter's
  const auto pack = PackReader::open(path, "settings");
  ASSERT_TRUE(pack);
  EXPECT_EQ(pack->layers_of("key0").size(), 1U);
  EXPECT_EQ(pack->layers_of("key1").size(), 2U);
  EXPECT_TRUE(pack->layers_of("key2").empty());
}

TEST_F(Packs, CutShortGiveWhatIsWhole) {
  const auto path = written(small_pack());
  const auto whole = fs::file_size(path);
  for (auto size = whole; size-- > 0;) {
    fs::resize_file(path, size);
    const auto pack = PackReader::open(path, "settings");
    if (!pack) continue;
    EXPECT_TRUE(pack->layers_of("key2").empty()) << size;
  }
}

}  // namespace
}  // namespace winnow::cache
