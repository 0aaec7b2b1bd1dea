// Reads pieces of weights and of adapters' files, several at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "winnow/slab/reader.hpp"

namespace winnow::score {

class DenseReader {
 public:
  DenseReader(std::size_t adapters, std::function<std::unique_ptr<slab::Reader>()> make_reader, int threads);

  struct Piece {
    const std::string* file = nullptr;
    std::uint64_t offset = 0;
    std::span<std::byte> to;
    std::string name;                        ///< for errors
    std::optional<std::uint32_t> adapter{};  ///< whose file it is; none of a weight
  };

  /// Throws if a weight cannot be read, or for an error of the machine. Of an adapter that cannot be read nothing is
  /// read again, and what was to be filled may hold anything.
  void read(const std::vector<Piece>& pieces);

  /// Why an adapter cannot be read; empty if it can.
  const std::string& fault(std::uint32_t adapter) const { return faults_[adapter]; }

  std::uint64_t bytes_read() const;

 private:
  void read(std::size_t reader, const Piece& piece);

  std::function<std::unique_ptr<slab::Reader>()> make_reader_;
  std::vector<std::unique_ptr<slab::Reader>> readers_;  // each for its own files; made when they are needed
  std::vector<std::string> faults_;                     // [adapters]
};

}  // namespace winnow::score
