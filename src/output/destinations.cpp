#include "winnow/output/destinations.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/cache/score_cache.hpp"
#include "winnow/journal/incarnation.hpp"

namespace winnow::output {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using input::Inputs;
using run::Journalling;
using run::Writing;

/// A mistyped --report must not cost a checkpoint: only an earlier report is replaced. An empty file is what mktemp
/// leaves.
bool may_be_replaced(const std::string& path) {
  constexpr std::string_view kHdf5 = "\x89HDF\r\n\x1a\n";
  const auto file = base::File::open_for_reading(path);
  if (file.size() == 0) return true;
  std::string start(kHdf5.size(), '\0');
  if (file.size() < start.size()) return false;
  file.read_exact(0, std::as_writable_bytes(std::span(start)));
  return start == kHdf5;
}

void check_writable(const char* what, const fs::path& directory) {
  if (access(directory.c_str(), W_OK | X_OK) == 0) return;
  throw Error(ErrorKind::runtime, fmt::format("cannot write to {}", what)).os_error(errno).file(directory.string());
}

void check_repaired_dir(const std::string& path) {
  // Parents are made, so it is the nearest one there is that counts.
  check_writable("--repaired-dir", base::require_directory_or_nothing(path, "--repaired-dir"));
}

}  // namespace

void check_report(const std::string& path) {
  const auto type = base::type_of(path);
  if (type == fs::file_type::directory) {
    throw Error(ErrorKind::usage, "--report is a directory").file(path).expected("a file to write");
  }
  const auto parent = fs::absolute(path).parent_path();
  const auto parent_type = base::type_of(parent);
  if (parent_type == fs::file_type::not_found) {
    throw Error(ErrorKind::usage, "the directory of --report does not exist")
        .file(parent.string())
        .advice("make it first");
  }
  if (parent_type != fs::file_type::directory) {
    throw Error(ErrorKind::usage, "--report is below what is not a directory").file(parent.string());
  }
  check_writable("the directory of --report", parent);
  base::check_replaceable(path);
  if (type != fs::file_type::not_found && !may_be_replaced(path)) {
    throw Error(ErrorKind::usage, "refusing to overwrite what is not a report")
        .file(path)
        .expected("nothing there, or an HDF5 file")
        .advice("choose another --report");
  }
}

void check_destinations(const Writing& writing, const Journalling& journalling, const std::string& bank) {
  if (!writing.report.empty()) check_report(writing.report);
  if (!writing.report.empty() && !bank.empty()) {
    base::require_not_an_input(writing.report, bank, "--report");
  }
  if (!journalling.directory.empty()) journal::check_journal(journalling.directory, journalling.resume);
  if (!journalling.cache.empty()) cache::check_cache(journalling.cache);
  if (!writing.repaired_dir.empty()) check_repaired_dir(writing.repaired_dir);
}

void check_repaired_adapters(const Inputs& inputs, const Writing& writing) {
  if (!writing.repairs()) return;
  const auto directories = repaired_directories(inputs.adapters, writing.repaired_dir);
  std::vector<std::string> replaced;
  for (std::size_t n = 0; n < inputs.adapters.size(); ++n) {
    if (inputs.adapters[n].status == adapter::AdapterStatus::ok && adapter::check_destination(directories[n])) {
      replaced.push_back(directories[n]);
    }
  }
  for (const auto& directory : replaced) {
    // An earlier output may be an adapter of this run.
    for (const auto& adapter : inputs.adapters) base::require_not_an_input(directory, adapter.path, "--repaired-dir");
  }
}

std::vector<std::string> repaired_directories(const std::vector<adapter::Adapter>& adapters,
                                              const std::string& repaired_dir) {
  std::vector<std::string> directories;
  std::set<std::string> taken;
  for (const auto& adapter : adapters) {
    std::string flat = adapter.name;
    std::replace(flat.begin(), flat.end(), '/', '_');
    std::string name = flat;
    for (int k = 2; !taken.insert(name).second; ++k) name = fmt::format("{}-{}", flat, k);
    directories.push_back((fs::path(repaired_dir) / name).string());
  }
  return directories;
}

}  // namespace winnow::output
