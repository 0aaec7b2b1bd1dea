#include "winnow/journal/incarnation.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::journal {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::string_view kPrefix = "incarnation-", kSuffix = ".journal";
constexpr const char* kDescription = "description.json";
constexpr const char* kWeights = "weights.json";
/// A zoo of ten thousand adapters takes some megabytes.
constexpr std::uint64_t kMaxDescriptionBytes = std::uint64_t{1} << 30;

std::string in_directory(const std::string& directory, const std::string& name) {
  return (fs::path(directory) / name).string();
}

/// The number of a folder that is an incarnation.
std::optional<int> number_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int number = 0;
  const auto* const end = name.data() + name.size();
  const auto [read, fault] = std::from_chars(name.data() + kPrefix.size(), end, number);
  if (fault != std::errc{} || read != end || number < 1) return std::nullopt;
  return number;
}

/// Names in a directory; none if it is not there.
std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : base::entries_of(directory, error)) names.push_back(entry.path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(ErrorKind::runtime, "cannot read the journal").file(directory).os_error(error.value());
  }
  return names;
}

Error begun_already(const std::string& journal) {
  return Error(ErrorKind::usage, "the directory of --journal holds a journal already")
      .file(journal)
      .advice("add --resume to go on with it, or give another directory");
}

/// With its parents. Every name that is new must reach the device: a journal whose directory a crash takes back is
/// none.
void make_directory(const std::string& directory) {
  std::error_code error;
  std::vector<fs::path> holders;  // of new names
  for (auto path = fs::absolute(directory).lexically_normal(); !fs::exists(path, error) && path.has_relative_path();) {
    if (!path.has_filename()) path = path.parent_path();  // a trailing slash
    path = path.parent_path();
    holders.push_back(path);
  }
  error.clear();
  fs::create_directories(directory, error);
  if (error) {
    throw Error(ErrorKind::runtime, "cannot make the directory of --journal").file(directory).os_error(error.value());
  }
  for (auto holder = holders.rbegin(); holder != holders.rend(); ++holder) base::sync_directory(holder->string());
}

}  // namespace

std::string Incarnation::rank_file(int rank) const {
  return in_directory(directory, fmt::format("rank-{:04}{}", rank, kSuffix));
}

std::vector<Incarnation> find_incarnations(const std::string& journal) {
  std::vector<Incarnation> found;
  for (const auto& name : names_in(journal)) {
    if (const auto number = number_of(name)) found.push_back({*number, in_directory(journal, name)});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return found;
}

Incarnation begin_incarnation(const std::string& journal, bool resume, std::string_view description,
                              std::string_view weights) {
  make_directory(journal);
  const auto earlier = find_incarnations(journal);
  if (!resume && !earlier.empty()) throw begun_already(journal);
  Incarnation incarnation;
  for (int number = earlier.empty() ? 1 : earlier.back().number + 1;; ++number) {
    incarnation = {number, in_directory(journal, fmt::format("{}{:04}", kPrefix, number))};
    // Not create_directory(): that takes a folder that is there for its own.
    if (::mkdir(incarnation.directory.c_str(), 0777) == 0) break;
    const int error = errno;
    if (error == EEXIST && resume) continue;  // somebody else resumes as well: the later number wins
    if (error == EEXIST) throw begun_already(journal);
    throw Error(ErrorKind::runtime, "cannot make a folder in the journal").file(incarnation.directory).os_error(error);
  }
  base::sync_directory(journal);
  // The description last: who finds it finds the other.
  base::atomic_write_file(in_directory(incarnation.directory, kWeights), weights);
  base::atomic_write_file(in_directory(incarnation.directory, kDescription), description);
  return incarnation;
}

std::optional<std::string> read_description(const Incarnation& incarnation) {
  return base::read_text_file_if_exists(in_directory(incarnation.directory, kDescription), kMaxDescriptionBytes);
}

std::optional<std::string> read_weights_note(const Incarnation& incarnation) {
  return base::read_text_file_if_exists(in_directory(incarnation.directory, kWeights), kMaxDescriptionBytes);
}

std::vector<std::string> rank_files(const Incarnation& incarnation) {
  std::vector<std::string> files;
  for (const auto& name : names_in(incarnation.directory)) {
    if (name.ends_with(kSuffix)) files.push_back(in_directory(incarnation.directory, name));
  }
  return files;
}

void require_latest(const std::string& journal, const Incarnation& incarnation) {
  const auto all = find_incarnations(journal);
  if (all.empty() || all.back().number <= incarnation.number) return;
  throw Error(ErrorKind::runtime, "another run has resumed this journal and taken over")
      .file(all.back().directory)
      .expected(fmt::format("nothing later than {}", incarnation.directory))
      .advice("this one writes nothing; wait for the other");
}

void check_journal(const std::string& journal, bool resume) {
  base::require_directory_or_nothing(journal, "--journal");
  if (!resume && !find_incarnations(journal).empty()) throw begun_already(journal);
}

}  // namespace winnow::journal
