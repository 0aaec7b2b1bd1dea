// New factors on their way from the rank that has a module's weights to the one that writes the adapter: a file for
// each rank that makes some, in a hidden directory that all ranks share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/file.hpp"

namespace winnow::output {

/// Made as a hidden sibling of `target`, whose parents are made; removed by the destructor, with what is in it. Throws
/// Error(runtime).
class SpoolDirectory {
 public:
  explicit SpoolDirectory(const std::string& target);
  ~SpoolDirectory();
  SpoolDirectory(const SpoolDirectory&) = delete;
  SpoolDirectory& operator=(const SpoolDirectory&) = delete;

  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// Where something lies in a spool.
struct SpoolPlace {
  std::uint64_t offset = 0, bytes = 0;
};

/// What one rank makes. Throws Error(runtime), as base::File does.
class FactorSpool {
 public:
  FactorSpool(const std::string& directory, int rank) : path_(path_in(directory, rank)) {}

  SpoolPlace put(std::span<const std::byte> bytes);
  /// All of it is in the file from here on.
  void close();

  static std::string path_in(const std::string& directory, int rank);

 private:
  std::string path_;
  std::optional<base::File> file_;  ///< once there is something in it
  std::uint64_t end_ = 0;
};

/// What all ranks have made, for one that writes adapters. For use once every FactorSpool is closed.
class Spools {
 public:
  Spools(std::string directory, int ranks)
      : directory_(std::move(directory)), files_(static_cast<std::size_t>(ranks)) {}

  std::vector<std::byte> get(int rank, const SpoolPlace& place);

 private:
  std::string directory_;
  std::vector<std::optional<base::File>> files_;  ///< [ranks], opened when they are needed
};

}  // namespace winnow::output
