// A directory that appears whole on commit() or not at all.
#pragma once

#include <filesystem>
#include <string>

namespace winnow::adapter {

/// Made as a hidden sibling of `target`, so that the last step is a rename within one file system. Removed by the
/// destructor if it was not committed. Failures throw Error(runtime) naming the path.
class StagedDirectory {
 public:
  explicit StagedDirectory(std::filesystem::path target);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  std::string file(const std::string& name) const { return (staged_ / name).string(); }

  /// Flushes the directory and renames it to the target: nothing or an empty directory there, or, with `replace`, a
  /// directory that is swapped for this one and then removed. The files must have been flushed by who wrote them.
  void commit(bool replace);

 private:
  std::filesystem::path target_, staged_;
};

}  // namespace winnow::adapter
