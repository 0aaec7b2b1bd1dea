#include "winnow/base/sha256.hpp"

#include <gmock/gmock.h>

#include <string>
#include <string_view>

namespace winnow::base {
namespace {

// "abc" of FIPS 180-4's examples, and nothing, which is everybody's.
TEST(Sha256, OfKnownData) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_base64("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_base64(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

TEST(Sha256, OfPiecesIsThatOfTheWhole) {
  std::string data;
  for (int i = 0; i < 1000; ++i) data += static_cast<char>(i * 7);
  Sha256 hash;
  for (std::size_t begin = 0, piece = 1; begin < data.size(); begin += piece, piece = piece % 97 + 5) {
    hash.update(std::string_view(data).substr(begin, piece));
  }
  EXPECT_EQ(hash.finish(), sha256_hex(data));
  EXPECT_EQ(hash.finish(), sha256_hex(""));  // ready for new data
}

}  // namespace
}  // namespace winnow::base
