// The readers, one a file; those that fall back on another hold it.
#pragma once

#include <map>
#include <string>

#include "open_files.hpp"
#include "winnow/slab/read_shape.hpp"
#include "winnow/slab/reader.hpp"

namespace winnow::slab {

class BufferedReader : public Reader {
 public:
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override;
  void keep_open(std::size_t files) override { files_.keep(files); }

 protected:
  const base::File& open(const std::string& path) { return files_.open(path); }

 private:
  OpenFiles files_;
};

// The others leave small ranges to the page cache: their blocks hold their neighbours.

class DirectReader final : public BufferedReader {
 public:
  Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
              std::string_view tensor) override;

  /// The same, but false and nothing read if the file's system refuses direct reads.
  bool try_load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
                std::string_view tensor, Loaded& loaded);
  void read_in(std::uint64_t bytes) override { read_bytes_ = bytes; }

 private:
  OpenFiles direct_files_;
  std::uint64_t read_bytes_ = ReadShape().read_bytes;
};

class MappedReader final : public BufferedReader {
 public:
  Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
              std::string_view tensor) override;
};

class AutomaticReader final : public BufferedReader {
 public:
  /// Without `mapping`, what is in memory is copied from there.
  explicit AutomaticReader(bool mapping) : mapping_(mapping) {}
  Loaded load(const std::string& path, std::uint64_t offset, std::uint64_t bytes, std::span<std::byte> room,
              std::string_view tensor) override;
  void read_in(std::uint64_t bytes) override { direct_.read_in(bytes); }

 private:
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
