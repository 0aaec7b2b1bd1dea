// That the names of a new journal reach the device: fsync() of this program notes what it is called for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "base/temporary_directory.hpp"
#include "winnow/journal/incarnation.hpp"

namespace {

std::set<std::string>& synced() {
  static std::set<std::string> paths;
  return paths;
}

}  // namespace

// In place of the C library's, which the libraries under test are bound to otherwise.
extern "C" int fsync(int descriptor) {
  std::error_code ignored;
  synced().insert(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), ignored).string());
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

namespace winnow::journal {
namespace {

TEST(JournalSync, EveryDirectoryThatGotANewName) {
  const test::TemporaryDirectory directory;
  for (const std::string below : {"plain", "deep/er/still", "slash/"}) {
    synced().clear();
    begin_incarnation(directory / below, false, "then\n");
    const auto journal = std::filesystem::path(directory / below + "/.").lexically_normal().parent_path();
    EXPECT_THAT(synced(), ::testing::Contains(journal.string())) << below;
    for (auto holder = journal.parent_path(); holder.string().size() >= directory.path().size();
         holder = holder.parent_path()) {
      EXPECT_THAT(synced(), ::testing::Contains(holder.string())) << below;
    }
  }
}

}  // namespace
}  // namespace winnow::journal
