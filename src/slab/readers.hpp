// The readers, one a file; those that fall back on another hold it.
#pragma once

#include <map>
#include <string>

#include "open_files.hpp"
#include "winnow/slab/reader.hpp"

namespace winnow::slab {

class BufferedReader final : public Reader {
 public:
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override;

 private:
  OpenFiles files_;
};

/// Small ranges (read()) go through the page cache: their blocks hold their neighbours.
class DirectReader final : public Reader {
 public:
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override;
  Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
              std::string_view tensor) override;

  /// The same, but false and nothing read where the file's system refuses direct reads.
  bool try_load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
                std::string_view tensor, Loaded& loaded);

 private:
  OpenFiles files_;
  BufferedReader buffered_;
};

class MappedReader final : public Reader {
 public:
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override;
  Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
              std::string_view tensor) override;

 private:
  OpenFiles files_;
  BufferedReader buffered_;
};

class AutomaticReader final : public Reader {
 public:
  /// Without `mapping`, what is in memory is copied from there.
  explicit AutomaticReader(bool mapping) : mapping_(mapping) {}
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override;
  Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
              std::string_view tensor) override;

 private:
  OpenFiles files_;
  BufferedReader buffered_;
  DirectReader direct_;
  bool mapping_;
  std::map<std::string, bool> refuses_direct_;  // by path, once known
};

/// Runs `work`; an error it throws names `tensor`.
template <class Work>
void naming(std::string_view tensor, Work work) {
  try {
    work();
  } catch (base::Error& error) {
    throw std::move(error).tensor(tensor);
  }
}

}  // namespace winnow::slab
