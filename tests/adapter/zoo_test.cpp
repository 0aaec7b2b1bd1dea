#include "adapter/fixture.hpp"

namespace winnow::adapter {
namespace {

using test::TemporaryDirectory;
using test::write_file;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

std::vector<std::string> find(const fs::path& root, bool strict = false, const base::Log& log = base::Log()) {
  return find_adapters(root.string(), strict, log);
}

std::string config_in(const fs::path& directory) {
  write_file(directory / "adapter_config.json", "{}");
  return directory.string();
}

TEST(Zoo, FindsEveryDirectoryWithAConfigSorted) {
  const TemporaryDirectory root;
  const auto b = config_in(root / "b"), nested = config_in(root / "a/x/y"), inside = config_in(root / "b/checkpoint-5");
  write_file(root / "c/other.json", "{}");
  config_in(root / ".hidden");
  EXPECT_THAT(find(root.path()), ElementsAre(nested, b, inside));
}

TEST(Zoo, TheRootItselfMayBeAnAdapter) {
  const TemporaryDirectory root;
  const auto self = config_in(root / "a");
  EXPECT_THAT(find(self), ElementsAre(self));
}

TEST(Zoo, FollowsLinksButNotInCircles) {
  const TemporaryDirectory root, elsewhere;
  config_in(elsewhere / "real");
  fs::create_directory(root / "zoo");
  fs::create_directory_symlink(elsewhere / "real", root / "zoo/link");
  fs::create_directory_symlink(elsewhere / "real", root / "zoo/twin");
  fs::create_directory_symlink(root / "zoo", root / "zoo/loop");
  fs::create_directory_symlink(root / "nowhere", root / "zoo/dangling");
  EXPECT_THAT(find(root / "zoo"), ElementsAre((root / "zoo/link").string()));
}

TEST(Zoo, ReadsAManifest) {
  const TemporaryDirectory root;
  const auto a = config_in(root / "a"), far = config_in(root / "far/b");
  write_file(root / "lists/zoo.txt", fmt::format("# comment\n\n  ../a \r\n{}\n../a\n../missing", far));
  // The missing one stays: opening it quarantines it, with the reason.
  EXPECT_THAT(find(root / "lists/zoo.txt"), ElementsAre(a, far, (root / "missing").string()));
}

TEST(Zoo, AManifestFromWindowsIsReadAsItIsMeant) {
  const TemporaryDirectory root;
  const auto a = config_in(root / "a"), b = config_in(root / "b");
  write_file(root / "zoo.txt",
             "\xEF\xBB\xBF"
             "a\r\nb\r\n");
  EXPECT_THAT(find(root / "zoo.txt"), ElementsAre(a, b));
}

TEST(Zoo, AManifestThatIsNoTextIsRefusedOnce) {
  const TemporaryDirectory root;
  test::write_tensors(root / "weights", test::lora("x", 2, 8, 8));
  write_file(root / "utf16", std::string_view("\xFF\xFE"
                                              "a\0/\0b\0\n\0",
                                              10));
  write_file(root / "long", "a\n" + std::string(5000, 'x') + "\n");
  for (const auto* name : {"weights", "utf16", "long"}) {
    test::Messages messages;
    const auto error = test::error_of([&] { find(root / name, false, messages.log); });
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), HasSubstr("manifest is not a text file: " + (root / name).string()));
    EXPECT_THAT(messages.texts, testing::IsEmpty());
  }
}

TEST(Zoo, ADirectoryThatCannotBeReadIsLeftOutAndNamed) {
  const TemporaryDirectory root;
  const auto a = config_in(root / "a"), closed = (root / "closed").string(), c = config_in(root / "sub/c");
  config_in(root / "closed/inside");
  fs::permissions(root.path(), fs::perms(0755));
  fs::permissions(closed, fs::perms::none);
  {
    const test::AsNobody nobody;
    test::Messages messages;
    EXPECT_THAT(find(root.path(), false, messages.log), ElementsAre(a, c));
    EXPECT_THAT(messages.texts, ElementsAre(testing::AllOf(HasSubstr(closed), HasSubstr("Permission denied"))));
    const auto error = test::error_of([&] { find(root.path(), true); });
    EXPECT_EQ(error.kind(), base::ErrorKind::runtime);
    EXPECT_EQ(error.file(), closed);
    EXPECT_EQ(test::error_of([&] { find(closed); }).file(), closed) << "a zoo that cannot be read itself";
  }
  fs::permissions(closed, fs::perms(0755));
}

TEST(Zoo, WithoutAdaptersIsRefused) {
  const TemporaryDirectory root;
  write_file(root / "empty.txt", "# nothing\n");
  for (const auto& path : {root.path(), root / "empty.txt"}) {
    const auto error = test::error_of([&] { find(path); });
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), HasSubstr("no adapters found: " + path.string()));
  }
  EXPECT_THAT(test::error_of([&] { find(root / "missing"); }).what(), HasSubstr("no such adapter zoo"));
}

std::vector<std::string> names(const std::vector<std::string>& paths) {
  std::vector<Adapter> adapters(paths.size());
  for (std::size_t i = 0; i < paths.size(); ++i) adapters[i].path = paths[i];
  assign_unique_names(adapters);
  std::vector<std::string> result;
  for (const auto& adapter : adapters) result.push_back(adapter.name);
  return result;
}

TEST(Names, AreTheLastComponent) { EXPECT_THAT(names({"/z/a", "/z/b/", "/z/c/."}), ElementsAre("a", "b", "c")); }

TEST(Names, AreWidenedUntilTheyDiffer) {
  EXPECT_THAT(names({"/z/a/final", "/z/b/final", "/z/c"}), ElementsAre("a/final", "b/final", "c"));
  EXPECT_THAT(names({"/y/a/final", "/z/a/final", "/z/b/final"}), ElementsAre("y/a/final", "z/a/final", "b/final"));
  EXPECT_THAT(names({"/final", "/z/final"}), ElementsAre("final", "z/final"));
}

TEST(Names, OfCheckpointsOfSeveralRunsSayWhichRun) {
  EXPECT_THAT(
      names({"/z/a/checkpoint-100", "/z/a/checkpoint-1900/", "/z/b/checkpoint-100", "/z/c/checkpoint-7", "/z/d",
             "/z/checkpoint-x"}),
      ElementsAre("a/checkpoint-100", "a/checkpoint-1900", "b/checkpoint-100", "c/checkpoint-7", "d", "checkpoint-x"));
  EXPECT_THAT(names({"/z/a/checkpoint-1", "/z/b/checkpoint-2"}), ElementsAre("a/checkpoint-1", "b/checkpoint-2"));
  EXPECT_THAT(names({"/z/a/checkpoint-1", "/z/a/checkpoint-2", "/z/b"}),
              ElementsAre("checkpoint-1", "checkpoint-2", "b"));
  // Two runs of one name: all their checkpoints say whose run it is, not only those that both have.
  EXPECT_THAT(names({"/x/run/checkpoint-1", "/y/run/checkpoint-1", "/x/run/checkpoint-2", "/y/solo/checkpoint-3"}),
              ElementsAre("x/run/checkpoint-1", "y/run/checkpoint-1", "x/run/checkpoint-2", "solo/checkpoint-3"));
  EXPECT_THAT(names({"/checkpoint-1", "/a/checkpoint-2", "/a/checkpoint-2"}),
              ElementsAre("checkpoint-1", "a/checkpoint-2", "a/checkpoint-2#2"));
}

TEST(Names, OfOneDirectoryGivenTwiceAreCounted) { EXPECT_THAT(names({"/z/a", "/z/a"}), ElementsAre("a", "a#2")); }

}  // namespace
}  // namespace winnow::adapter
