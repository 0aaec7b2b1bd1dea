#include "winnow/base/directory.hpp"

#include <algorithm>

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

}  // namespace winnow::base
