#include "winnow/synth/planting.hpp"
#include "winnow/synth/truth.hpp"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "base/temporary_directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::synth {
namespace {

using testing::HasSubstr;

std::map<PlantedKind, int> count_kinds(const std::vector<Planted>& planted) {
  std::map<PlantedKind, int> counts;
  for (const auto& one : planted) ++counts[one.kind];
  return counts;
}

std::string role_of(const Planted& one) { return one.module.substr(one.module.rfind('.') + 1); }

TEST(ChoosePlanted, TwelveAreFourOfEachKindOnDistinctModulesTwoARoleAtMost) {
  const auto modules = linear_modules(preset_shape("tiny"));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto planted = choose_planted(seed, "adapter-000", modules, 12);
    EXPECT_EQ(count_kinds(planted),
              (std::map<PlantedKind, int>{
                  {PlantedKind::off_subspace, 4}, {PlantedKind::oversized, 4}, {PlantedKind::undoing, 4}}));
    std::set<std::string> names;
    std::map<std::string, std::multiset<PlantedKind>> roles;
    for (const auto& one : planted) {
      EXPECT_EQ(one.adapter, "adapter-000");
      names.insert(one.module);
      roles[role_of(one)].insert(one.kind);
    }
    EXPECT_EQ(names.size(), 12U);
    EXPECT_EQ(roles.size(), 7U);
    for (const auto& [role, kinds] : roles) {
      EXPECT_LE(kinds.size(), 2U) << role;
      for (const auto kind : kinds) EXPECT_EQ(kinds.count(kind), 1U) << role;
    }
  }
}

TEST(ChoosePlanted, DiffersBetweenSeedsAndAdapters) {
  const auto modules = linear_modules(preset_shape("tiny"));
  const auto names = [&](std::uint64_t seed, const std::string& adapter) {
    std::vector<std::string> all;
    for (const auto& one : choose_planted(seed, adapter, modules, 12)) all.push_back(one.module);
    return all;
  };
  EXPECT_EQ(names(1, "a"), names(1, "a"));
  EXPECT_NE(names(1, "a"), names(2, "a"));
  EXPECT_NE(names(1, "a"), names(1, "b"));
}

TEST(ChoosePlanted, CanPlantEveryModuleButNotMore) {
  const auto modules = linear_modules(preset_shape("tiny"));
  const auto all = choose_planted(3, "a", modules, modules.size());
  ASSERT_EQ(all.size(), modules.size());
  for (std::size_t n = 0; n < all.size(); ++n) EXPECT_EQ(all[n].module, modules[n].name);
  EXPECT_TRUE(choose_planted(3, "a", modules, 0).empty());
  EXPECT_THROW(choose_planted(3, "a", modules, modules.size() + 1), base::Error);
}

TEST(Truth, ComesBackAsWritten) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "truth.json";
  const std::vector<Planted> planted = {{"adapter-000", "model.layers.0.self_attn.q_proj", PlantedKind::undoing},
                                        {"adapter-001", "model.layers.1.mlp.up_proj", PlantedKind::off_subspace},
                                        {"adapter-001", "model.layers.2.mlp.up_proj", PlantedKind::oversized}};
  base::atomic_write_file(path, truth_json(planted, {}));
  EXPECT_EQ(read_truth(path), planted);
}

TEST(Truth, AnythingElseIsRefusedNamingTheFile) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "truth.json";
  for (const auto* text : {"", "[]", "{}", R"({"schema_version": 2, "planted": []})",
                           R"({"schema_version": 1, "planted": [{"adapter": "a", "module": "m", "kind": "odd"}]})",
                           R"({"schema_version": 1, "planted": [{"adapter": 1, "module": "m", "kind": "undoing"}]})",
                           R"({"schema_version": 1, "planted": [{"adapter": "a", "kind": "undoing"}]})"}) {
    base::atomic_write_file(path, text);
    try {
      read_truth(path);
      ADD_FAILURE() << "accepted " << text;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
}

}  // namespace
}  // namespace winnow::synth
