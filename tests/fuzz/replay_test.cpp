// Runs a fuzz entry point over its kept inputs, without a fuzzer: what was found once stays found.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

TEST(Corpus, is_replayed) {
  std::size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(WINNOW_FUZZ_CORPUS)) {
    SCOPED_TRACE(file.path().string());
    std::ifstream in(file.path(), std::ios::binary);
    ASSERT_TRUE(in);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    // Of exactly this size, so that a sanitizer sees a read beyond the end.
    const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
    ASSERT_NO_THROW(LLVMFuzzerTestOneInput(input.data(), input.size()));
    ++files;
  }
  EXPECT_GT(files, 0U) << "no inputs in " << WINNOW_FUZZ_CORPUS;
  ASSERT_NO_THROW(LLVMFuzzerTestOneInput(nullptr, 0));
}

}  // namespace
