// The smallest use of a library that is built along.
#include <cstdio>

#include "winnow/base/byte_size.hpp"

int main() {
  const auto bytes = winnow::base::parse_byte_size("4GiB", "--size");
  std::printf("around: %llu bytes\n", static_cast<unsigned long long>(bytes));
  return bytes == 4ULL << 30 ? 0 : 1;
}
