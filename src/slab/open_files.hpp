// The files a reader has open.
#pragma once

#include <list>
#include <string>
#include <utility>

#include "winnow/base/file.hpp"

namespace winnow::slab {

/// Keeps the most recently used files open. Shards are read front to back, one after the other: a handful serves any
/// number of them.
class OpenFiles {
 public:
  static constexpr std::size_t kMost = 8;

  const base::File& open(const std::string& path) {
    return find_or_open(path, [&] { return base::File::open_for_reading(path); });
  }

  /// With a way of opening of one's own; the same for all files of one OpenFiles.
  template <class Open>
  const base::File& find_or_open(const std::string& path, Open open) {
    for (auto it = files_.begin(); it != files_.end(); ++it) {
      if (it->path() == path) {
        files_.splice(files_.begin(), files_, it);
        return files_.front();
      }
    }
    auto file = open();
    if (files_.size() == kMost) files_.pop_back();
    files_.push_front(std::move(file));
    return files_.front();
  }

 private:
  std::list<base::File> files_;  // most recently used first
};

}  // namespace winnow::slab
