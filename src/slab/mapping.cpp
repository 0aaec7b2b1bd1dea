#include "winnow/slab/mapping.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "mapping_guard.hpp"
#include "winnow/base/error.hpp"

namespace winnow::slab {
namespace {

#ifndef MADV_POPULATE_READ  // Linux 5.14
constexpr int kPopulateRead = 22;
#else
constexpr int kPopulateRead = MADV_POPULATE_READ;
#endif

}  // namespace

Mapping::Mapping(const base::File& file, std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t size = file.size();
  if (offset + bytes > size) throw file.ends_too_early(offset, bytes, size - std::min(size, offset));
  if (bytes == 0) return;
  const std::uint64_t lead = offset % page_bytes();
  const std::size_t length = lead + bytes;
  void* const at = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file.descriptor(), static_cast<off_t>(offset - lead));
  if (at == MAP_FAILED) {
    throw base::Error(base::ErrorKind::runtime, "cannot map file").file(file.path()).os_error(errno);
  }
  pages_ = {static_cast<std::byte*>(at), length};
  data_ = pages_.data() + lead;
  watch_ = watch(pages_);
}

Mapping::~Mapping() {
  if (pages_.empty()) return;
  unwatch(watch_);
  ::munmap(pages_.data(), pages_.size());
}

Mapping::Mapping(Mapping&& other) noexcept
    : pages_(std::exchange(other.pages_, {})), data_(std::exchange(other.data_, nullptr)), watch_(other.watch_) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(data_, other.data_);
  std::swap(watch_, other.watch_);
  return *this;
}

bool Mapping::broken() const noexcept { return !pages_.empty() && has_faulted(watch_); }

double Mapping::resident() const {
  if (pages_.empty()) return 1;
  std::vector<unsigned char> in_memory((pages_.size() + page_bytes() - 1) / page_bytes());
  if (::mincore(pages_.data(), pages_.size(), in_memory.data()) != 0) return 0;
  const auto count = std::count_if(in_memory.begin(), in_memory.end(), [](unsigned char page) { return page & 1U; });
  return static_cast<double>(count) / static_cast<double>(in_memory.size());
}

void Mapping::populate() const {
  if (pages_.empty() || ::madvise(pages_.data(), pages_.size(), kPopulateRead) == 0) return;
  // An older kernel, or a page that cannot be read: touched one by one, the latter is seen by the guard.
  for (std::size_t page = 0; page < pages_.size(); page += page_bytes()) {
    [[maybe_unused]] const auto touched = *reinterpret_cast<const volatile unsigned char*>(&pages_[page]);
  }
}

}  // namespace winnow::slab
