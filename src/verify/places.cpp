#include "places.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <queue>
#include <tuple>
#include <utility>

#include "winnow/base/text.hpp"

namespace winnow::verify {
namespace {

namespace fs = std::filesystem;

/// The last component, the last two, and so on; each begins with "/". Reports hold text that is UTF-8.
std::vector<std::string> ends_of(const std::string& path) {
  std::vector<std::string> parts;
  for (const auto& part : fs::path(base::valid_utf8(path)).lexically_normal().relative_path()) {
    if (!part.empty() && part != ".") parts.push_back(part.string());
  }
  std::vector<std::string> ends;
  std::string end;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) ends.push_back(end.insert(0, *part).insert(0, "/"));
  return ends;
}

/// A directory that is still to be matched: those that share most come first, then those whose content fits.
struct Candidate {
  std::size_t shared = 0;  ///< components
  bool any_content = false;
  std::size_t directory = 0;

  bool operator<(const Candidate& other) const {  // the largest is taken first
    return std::tuple(shared, other.any_content, other.directory) < std::tuple(other.shared, any_content, directory);
  }
};

}  // namespace

std::vector<std::optional<std::size_t>> match_places(
    const std::vector<std::string>& directories, const std::vector<std::string>& recorded,
    const std::function<bool(std::size_t directory, std::size_t recorded)>& has_content_of) {
  std::map<std::string, std::vector<std::size_t>> by_end;
  for (std::size_t r = 0; r < recorded.size(); ++r) {
    for (auto& end : ends_of(recorded[r])) by_end[std::move(end)].push_back(r);
  }
  std::vector<std::optional<std::size_t>> place(directories.size());
  std::vector<bool> taken(recorded.size(), false);
  const auto take = [&](std::size_t directory, const std::vector<std::size_t>& among, bool any_content) {
    const auto found = std::find_if(among.begin(), among.end(), [&](std::size_t r) {
      return !taken[r] && (any_content || has_content_of(directory, r));
    });
    if (found == among.end()) return false;
    place[directory] = *found;
    taken[*found] = true;
    return true;
  };
  std::vector<std::vector<std::string>> ends;
  std::priority_queue<Candidate> queue;
  for (std::size_t d = 0; d < directories.size(); ++d) {
    ends.push_back(ends_of(directories[d]));
    queue.push({ends[d].size(), false, d});
  }
  while (!queue.empty()) {
    auto next = queue.top();
    queue.pop();
    if (next.shared == 0) continue;
    const auto known = by_end.find(ends[next.directory][next.shared - 1]);
    if (known != by_end.end() && take(next.directory, known->second, next.any_content)) continue;
    if (known == by_end.end() || std::exchange(next.any_content, !next.any_content)) {
      next.any_content = false;
      --next.shared;
    }
    queue.push(next);
  }
  std::vector<std::size_t> all(recorded.size());
  for (std::size_t r = 0; r < all.size(); ++r) all[r] = r;
  for (std::size_t d = 0; d < directories.size(); ++d) {
    if (!place[d]) take(d, all, false);
  }
  return place;
}

}  // namespace winnow::verify
