// Many adapters: finding them, and naming them apart.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/training_checkpoint.hpp"
#include "winnow/checkpoint/holds_checkpoint.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{64} << 20;

/// Walks directories, through symbolic links too (a zoo is often a folder of links), each directory once.
class Walk {
 public:
  Walk(bool strict, const base::Log& log, const std::function<void()>& between)
      : strict_(strict), log_(log), between_(between) {}

  std::vector<std::string> run(const fs::path& root) {
    root_ = root;
    visit(root);
    std::sort(found_.begin(), found_.end());
    return std::move(found_);
  }

 private:
  void visit(const fs::path& directory) {
    if (between_) between_();
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0) return leave_out(directory, errno);
    if (!visited_.emplace(status.st_dev, status.st_ino).second) return;
    std::error_code error;
    std::vector<fs::path> below;
    bool holds_adapter = false;
    for (const auto& entry : base::entries_of(directory, error)) {
      std::error_code ignored;  // a dangling link is no directory
      const auto name = entry.path().filename().string();
      holds_adapter |= name == "adapter_config.json";
      if (!name.starts_with('.') && entry.is_directory(ignored)) below.push_back(entry.path());
    }
    if (holds_adapter) found_.push_back(directory.string());
    if (error) leave_out(directory, error.value());
    for (const auto& child : below) visit(child);  // sorted: which of two links is taken must not depend on chance
  }

  /// One of a thousand directories that is somebody else's, or on a disk that fails, is no reason to score none.
  void leave_out(const fs::path& directory, int error_number) const {
    auto error =
        Error(ErrorKind::runtime, "cannot read directory of the zoo").file(directory.string()).os_error(error_number);
    if (directory == root_) throw std::move(error);
    if (strict_) throw std::move(error).advice("leave out --strict to score what can be found");
    log_.warn(std::move(error).advice("adapters below it are left out").what());
  }

  bool strict_;
  const base::Log& log_;
  const std::function<void()>& between_;
  fs::path root_;
  std::set<std::pair<dev_t, ino_t>> visited_;
  std::vector<std::string> found_;
};

/// A manifest that is something else (weights, UTF-16) would be thousands of adapters that do not exist.
void refuse_binary(std::string_view text, const fs::path& file) {
  const auto refused = [&](const std::string& found) {
    return Error(ErrorKind::invalid_input, "manifest is not a text file")
        .file(file.string())
        .expected("one adapter directory a line, found " + found)
        .advice("give a directory that is searched for adapters, or a list of them in UTF-8");
  };
  if (const auto at = text.find('\0'); at != text.npos) throw refused(fmt::format("a NUL byte at offset {}", at));
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    if (end - begin > PATH_MAX) throw refused(fmt::format("a line of {} bytes at offset {}", end - begin, begin));
    begin = end + 1;
  }
}

std::vector<std::string> read_manifest(const fs::path& file) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  auto text = base::read_text_file(file.string(), kMaxManifestBytes);
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  refuse_binary(text, file);
  std::set<std::string> directories;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    auto line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#') continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    directories.insert((file.parent_path() / line).lexically_normal().string());
  }
  return {directories.begin(), directories.end()};
}

/// The last `count` components of a path.
std::string tail(const fs::path& path, std::size_t count) {
  std::vector<std::string> parts;
  for (const auto& part : path.relative_path()) parts.push_back(part.string());
  const auto skipped = parts.size() > count ? parts.size() - count : 0;
  return fmt::format("{}", fmt::join(parts.begin() + static_cast<std::ptrdiff_t>(skipped), parts.end(), "/"));
}

fs::path clean(const std::string& directory) {
  auto path = fs::absolute(directory).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

/// Raises `width`, the number of last components that each path is called by, until different paths have different
/// names.
void tell_apart(const std::vector<fs::path>& paths, std::vector<std::size_t>& width) {
  for (bool again = true; again;) {
    again = false;
    std::map<std::string, std::vector<std::size_t>> users;
    for (std::size_t i = 0; i < paths.size(); ++i) users[tail(paths[i], width[i])].push_back(i);
    for (const auto& [name, indices] : users) {
      const auto same = [&, first = indices.front()](auto i) { return paths[i] == paths[first]; };
      if (std::all_of(indices.begin(), indices.end(), same)) continue;
      for (const auto i : indices) {
        const auto parts = std::distance(paths[i].relative_path().begin(), paths[i].relative_path().end());
        if (width[i] >= static_cast<std::size_t>(parts)) continue;
        ++width[i];
        again = true;
      }
    }
  }
}

/// 1, and for the checkpoints of several training runs enough to name their run: whether checkpoint-1900 is there once
/// or twice, it does not say by itself whose it is.
std::vector<std::size_t> least_widths(const std::vector<fs::path>& paths) {
  std::map<fs::path, std::vector<std::size_t>> checkpoints;  // by run
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (base::checkpoint_number(paths[i].filename().string())) checkpoints[paths[i].parent_path()].push_back(i);
  }
  std::vector<std::size_t> width(paths.size(), 1);
  if (checkpoints.size() < 2) return width;
  std::vector<fs::path> runs;
  for (const auto& [run, indices] : checkpoints) runs.push_back(run);
  std::vector<std::size_t> run_width(runs.size(), 1);
  tell_apart(runs, run_width);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (const auto i : checkpoints[runs[r]]) width[i] = run_width[r] + 1;
  }
  return width;
}

}  // namespace

std::vector<std::string> find_adapters(const std::string& root, bool strict, const base::Log& log,
                                       const std::function<void()>& between) {
  const auto type = base::type_of(root);
  std::vector<std::string> found;
  if (type == fs::file_type::directory) {
    found = Walk(strict, log, between).run(root);
  } else if (type == fs::file_type::regular) {
    found = read_manifest(root);
  } else {
    throw Error(ErrorKind::invalid_input, "no such adapter zoo")
        .file(root)
        .expected("a directory that is searched for adapters, or a text file that names one directory a line")
        .advice("check the path");
  }
  if (found.empty()) {
    throw Error(ErrorKind::invalid_input, "no adapters found")
        .file(root)
        .expected(type == fs::file_type::directory ? "a directory with adapter_config.json somewhere below"
                                                   : "one directory a line")
        .advice(checkpoint::holds_checkpoint(root)
                    ? "it is shaped like a checkpoint: give the directory of the adapters"
                    : "check the path");
  }
  return found;
}

void assign_unique_names(std::vector<Adapter>& adapters) {
  std::vector<fs::path> paths;
  for (const auto& adapter : adapters) paths.push_back(clean(adapter.path));
  auto width = least_widths(paths);
  tell_apart(paths, width);
  for (std::size_t i = 0; i < adapters.size(); ++i) adapters[i].name = tail(paths[i], width[i]);
  // The same directory given twice cannot be told apart by its path.
  std::map<std::string, std::size_t> times;
  for (auto& adapter : adapters) {
    const auto time = ++times[adapter.name];
    if (time > 1) adapter.name = fmt::format("{}#{}", adapter.name, time);
  }
}

}  // namespace winnow::adapter
