// How much of a file is in the page cache: the count that the system call of newer kernels gives, against page by page.
#include "slab/residency.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/temporary_directory.hpp"
#include "slab/files.hpp"

namespace winnow::slab {
namespace {

TEST(Residency, IsWhatMincoreTellsPageByPage) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "shard.safetensors";
  constexpr std::uint64_t size = 16 << 20;
  test::write_bytes(path, size, 1);
  const auto file = base::File::open_for_reading(path);
  ASSERT_EQ(::fsync(file.descriptor()), 0);
  ASSERT_EQ(::posix_fadvise(file.descriptor(), 5 << 20, 6 << 20, POSIX_FADV_DONTNEED), 0);
  const std::array<std::pair<std::uint64_t, std::uint64_t>, 6> ranges{
      {{0, size}, {1, size - 1}, {3 << 20, 4 << 20}, {(5 << 20) + 4095, 2}, {6 << 20, 1 << 20}, {size - 1, 1}}};
  for (const auto& [offset, bytes] : ranges) {
    const Mapping mapping(file, offset, bytes);
    EXPECT_DOUBLE_EQ(resident_share(file, offset, bytes, mapping), mapping.resident()) << offset << " " << bytes;
  }
}

}  // namespace
}  // namespace winnow::slab
