#include "winnow/base/directory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/base/file_type.hpp"

namespace winnow::base {

namespace fs = std::filesystem;

std::vector<fs::directory_entry> entries_of(const fs::path& directory, std::error_code& error) {
  std::vector<fs::directory_entry> entries;
  do {
    error.clear();
    entries.clear();
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
      entries.push_back(*entry);
    }
  } while (error == std::errc::interrupted);
  std::sort(entries.begin(), entries.end());
  return entries;
}

fs::path require_directory_or_nothing(const std::string& path, std::string_view option) {
  auto existing = fs::absolute(path);
  auto type = type_of(existing);
  while (type == fs::file_type::not_found && existing.has_relative_path()) {
    existing = existing.parent_path();
    type = type_of(existing);
  }
  if (type == fs::file_type::directory) return existing;
  throw Error(ErrorKind::usage, fmt::format("{} is or is below what is not a directory", option))
      .file(existing.string())
      .expected("a directory, or nothing there");
}

}  // namespace winnow::base
