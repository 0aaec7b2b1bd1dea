// A file of scores by content: what one run found out about adapters, for later runs on the same weights.
//
//     winnow scores 2\n          16 bytes
//     SHA-256 of the index       64 hexadecimal digits and a line feed
//     length of the index        8 bytes, little-endian
//     index                      whose scores these are, the files of weights, the tasks, and per adapter its key,
//                                offset, length and XXH3-128 of its scores
//     scores                     per adapter, as score::Scores serialises them
//
// A pack is written once, whole, and never changed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/file.hpp"
#include "winnow/base/file_state.hpp"
#include "winnow/base/xxh3.hpp"
#include "winnow/score/scores.hpp"

namespace winnow::cache {

/// A module's operand, by a name that is the same in every run with the same settings, and what was found out about it.
/// ModuleScore::module says nothing here.
struct PackedTask {
  std::string name;
  score::ModuleScore score;
};

struct PackedAdapter {
  std::string key;                        ///< what it is: its content and what it does
  std::vector<score::LayerScore> layers;  ///< LayerScore::module is an index into the pack's tasks
};

struct ScorePack {
  std::string settings;                                 ///< digest of all else that scores depend on
  std::map<std::string, base::FileState> weight_files;  ///< by what and name; states in which they held these weights
  std::vector<PackedTask> tasks;
  std::vector<PackedAdapter> adapters;
};

/// Whole or not at all, under a name in `directory` that its content gives. Throws Error(runtime) if the disk is
/// full.
void write_pack(const ScorePack& pack, const std::string& directory);

/// A pack whose index is read.
class PackReader {
 public:
  /// std::nullopt for a file that is damaged or of other settings. Throws Error(runtime) if it cannot be read.
  static std::optional<PackReader> open(const std::string& path, std::string_view settings);

  const std::map<std::string, base::FileState>& weight_files() const noexcept { return weight_files_; }
  const std::vector<PackedTask>& tasks() const noexcept { return tasks_; }
  /// Scores of an adapter; none if the pack has none of it, or they are damaged. Throws as open().
  std::vector<score::LayerScore> layers_of(const std::string& key) const;
  bool knows(const std::string& key) const { return places_.count(key) != 0; }
  const std::string& path() const noexcept { return file_.path(); }

 private:
  struct Place {
    std::uint64_t offset = 0, bytes = 0;
    base::Hash128 hash;
  };

  explicit PackReader(base::File file) : file_(std::move(file)) {}
  void parse(std::string_view index);

  base::File file_;
  std::uint64_t scores_begin_ = 0;
  std::map<std::string, base::FileState> weight_files_;
  std::vector<PackedTask> tasks_;
  std::map<std::string, Place> places_;  // by key; offsets from scores_begin_
};

/// The packs in a directory, sorted; none if it is not there. Throws Error(runtime) if it cannot be read.
std::vector<std::string> find_packs(const std::string& directory);

}  // namespace winnow::cache
