// The files a reader has open.
#pragma once

#include <algorithm>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "winnow/base/file.hpp"

namespace winnow::slab {

/// Keeps the most recently used files open. Shards are read front to back, one after the other: a handful serves any
/// number of them. Adapters are all read for each module: there it should be all of them.
class OpenFiles {
 public:
  static constexpr std::size_t kMost = 8;

  void keep(std::size_t most) { most_ = std::max<std::size_t>(most, 1); }

  const base::File& open(const std::string& path) {
    return find_or_open(path, [&] { return base::File::open_for_reading(path); });
  }

  /// With a way of opening of one's own; the same for all files of one OpenFiles.
  template <class Open>
  const base::File& find_or_open(const std::string& path, Open open) {
    if (const auto found = by_path_.find(path); found != by_path_.end()) {
      files_.splice(files_.begin(), files_, found->second);
      return files_.front();
    }
    while (files_.size() >= most_) {
      by_path_.erase(files_.back().path());
      files_.pop_back();
    }
    files_.push_front(open());
    by_path_.emplace(files_.front().path(), files_.begin());
    return files_.front();
  }

 private:
  std::size_t most_ = kMost;
  std::list<base::File> files_;                                                    // most recently used first
  std::unordered_map<std::string_view, std::list<base::File>::iterator> by_path_;  // names are the files' own
};

}  // namespace winnow::slab
