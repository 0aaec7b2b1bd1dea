// The random streams that synthetic families and the sketch block are made of.
#include "winnow/base/philox.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <vector>

namespace winnow::base {
namespace {

using testing::Each;
using testing::Gt;
using testing::Lt;

TEST(Fnv1a, KnownValues) {
  EXPECT_EQ(fnv1a(""), 0xcbf29ce484222325U);
  EXPECT_EQ(fnv1a("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(fnv1a("foobar"), 0x85944171f73967e8U);
}

TEST(BitStream, IsPinned) {
  // Data made from a seed must stay the same from release to release, and on every machine. Figures: Philox4x32-10
  // written out in Python (which also gives the known answers of Random123), key 1, counter (0, 0, fnv1a("stream")).
  std::vector<std::uint32_t> words(4);
  BitStream(1, "stream").fill(0, words.size(), words.data());
  EXPECT_THAT(words, testing::ElementsAre(0xca465e28U, 0x2e88e85bU, 0x8a3b89d8U, 0x63c7e125U));
}

TEST(BitStream, DoesNotDependOnHowCallsAreCut) {
  const BitStream stream(7, "cut");
  std::vector<std::uint32_t> whole(41), pieces(41);
  stream.fill(3, whole.size(), whole.data());
  for (std::size_t at = 0, size = 1; at < pieces.size(); at += size, size = size % 5 + 1) {
    stream.fill(3 + at, std::min(size, pieces.size() - at), pieces.data() + at);
  }
  EXPECT_EQ(whole, pieces);
}

TEST(BitStream, SeedNameAndHighPositionsMatter) {
  const auto word = [](std::uint64_t seed, std::string_view name, std::uint64_t position) {
    std::uint32_t value = 0;
    BitStream(seed, name).fill(position, 1, &value);
    return value;
  };
  const auto reference = word(1, "a", 0);
  EXPECT_NE(reference, word(2, "a", 0));
  EXPECT_NE(reference, word(1ULL | 1ULL << 32, "a", 0));
  EXPECT_NE(reference, word(1, "b", 0));
  EXPECT_NE(reference, word(1, "a", 1));
  EXPECT_NE(reference, word(1, "a", 1ULL << 34));  // a 32-bit block number would come round here
}

TEST(BitStream, UniformIsInTheOpenInterval) {
  std::vector<double> values(4096);
  BitStream(3, "u").fill_uniform(0, values.size(), values.data());
  EXPECT_THAT(values, Each(testing::AllOf(Gt(0.0), Lt(1.0))));
  double sum = 0.0;
  for (const double v : values) sum += v;
  EXPECT_NEAR(sum / 4096.0, 0.5, 0.02);  // 4.4 standard errors
}

TEST(NormalStream, HasTheMomentsOfANormal) {
  std::vector<double> values(200'000);
  NormalStream(5, "moments").fill(0, values.size(), values.data());
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbours = 0;
  for (std::size_t n = 0; n < values.size(); ++n) {
    const double v = values[n];
    m1 += v;
    m2 += v * v;
    m3 += v * v * v;
    m4 += v * v * v * v;
    if (n > 0) neighbours += v * values[n - 1];
  }
  const auto count = static_cast<double>(values.size());
  // Five standard errors each.
  EXPECT_NEAR(m1 / count, 0.0, 0.0112);
  EXPECT_NEAR(m2 / count, 1.0, 0.0159);
  EXPECT_NEAR(m3 / count, 0.0, 0.0434);
  EXPECT_NEAR(m4 / count, 3.0, 0.1096);
  EXPECT_NEAR(neighbours / count, 0.0, 0.0112);
}

TEST(NormalStream, FloatIsTheDoubleRoundedWhereverItIsCut) {
  const NormalStream stream(5, "float");
  std::vector<double> wide(33);
  std::vector<float> narrow(33);
  stream.fill(2, wide.size(), wide.data());
  stream.fill(2, 5, narrow.data());
  stream.fill(7, 28, narrow.data() + 5);
  for (std::size_t n = 0; n < wide.size(); ++n) EXPECT_EQ(narrow[n], static_cast<float>(wide[n])) << n;
  EXPECT_EQ(stream.at(9), wide[7]);
}

}  // namespace
}  // namespace winnow::base
