#include "winnow/slab/reader.hpp"

#include <fmt/format.h>

#include <list>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::slab {
namespace {

/// Shards are read front to back, one after the other: a handful of open files serves any number of shards.
constexpr std::size_t kOpenFiles = 8;

class BufferedReader final : public Reader {
 public:
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override {
    try {
      open(path).read_exact(offset, destination);
    } catch (base::Error& error) {
      throw std::move(error).tensor(tensor);
    }
    bytes_read_ += destination.size();
  }

 private:
  const base::File& open(const std::string& path) {
    for (auto it = files_.begin(); it != files_.end(); ++it) {
      if (it->path() == path) {
        files_.splice(files_.begin(), files_, it);
        return files_.front();
      }
    }
    if (files_.size() == kOpenFiles) files_.pop_back();
    files_.push_front(base::File::open_for_reading(path));
    return files_.front();
  }

  std::list<base::File> files_;  // most recently used first
};

}  // namespace

IoMode parse_io_mode(std::string_view text) {
  if (text == "auto") return IoMode::automatic;
  if (text == "buffered") return IoMode::buffered;
  if (text == "direct" || text == "mmap") {
    throw base::Error(base::ErrorKind::usage, fmt::format("--io {} is not available in this version", text))
        .expected("auto or buffered");
  }
  throw base::Error(base::ErrorKind::usage, fmt::format("unknown --io {}", text)).expected("auto or buffered");
}

std::unique_ptr<Reader> make_buffered_reader() { return std::make_unique<BufferedReader>(); }

std::unique_ptr<Reader> make_reader(IoMode) { return make_buffered_reader(); }

}  // namespace winnow::slab
